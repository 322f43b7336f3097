"""Why a step runs: what differs from its last successful execution, in words."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

FIRST: Final = "it has not run before"
NOTHING: Final = "what it made is gone"
_CODE: Final = "code"
_FINGERPRINT: Final = "fingerprint"
_IDENTITY: Final = "_identity"
_LONGEST: Final = 40
_SHOWN: Final = 4


def reasons(
    now: Mapping[str, Any],
    before: Mapping[str, Any] | None,
    inputs_now: Mapping[str, Sequence[int]],
    inputs_before: Mapping[str, Sequence[int]],
) -> str:
    """What has changed, in one line.

    Args:
      now: parameters of this execution.
      before: those of the last successful one; None where there is none.
      inputs_now: ids of the input artifacts, by channel.
      inputs_before: those of the last successful execution.

    >>> reasons({"code": "trainer:1", "epochs": 3}, {"code": "trainer:2", "epochs": 5}, {}, {})
    'code of trainer has changed; epochs was 5, is 3'
    """
    if before is None:
        return FIRST
    found = list(_changed_parameters(now, before))
    # An option that is also a parameter of its own would be told twice.
    found = [line for line in found if not any(other.endswith(f".{line}") for other in found)]
    fresh = [name for name in sorted(inputs_now) if list(inputs_now[name]) != list(inputs_before.get(name, ()))]
    if fresh:
        found.append(f"new {', '.join(name.replace('_', ' ') for name in fresh)}")
    if not found:
        return NOTHING
    more = len(found) - _SHOWN
    return "; ".join(found[:_SHOWN]) + (f"; and {more} more" if more > 0 else "")


def _changed_parameters(now: Mapping[str, Any], before: Mapping[str, Any]) -> Iterator[str]:
    for name in sorted({*now, *before}):
        value, earlier = now.get(name), before.get(name)
        if value == earlier or name.endswith(_IDENTITY):
            continue
        if name == _FINGERPRINT:
            yield "the contents of the input files have changed"
        else:
            yield from _changed_value(name, value, earlier)


def _changed_plain(name: str, value: Any, earlier: Any) -> Iterator[str]:
    if name == _CODE:
        yield f"code of {', '.join(_changed_code(str(value), str(earlier)))} has changed"
    else:
        yield f"{name} was {_short(earlier)}, is {_short(value)}"


def _changed_code(now: str, before: str) -> list[str]:
    earlier = set(before.split())
    return [part.partition(":")[0] for part in now.split() if part not in earlier] or ["a package"]


def _changed_value(name: str, value: Any, earlier: Any) -> Iterator[str]:
    """A parameter, or the options of one that is a part of the configuration."""
    left, right = _parsed(value), _parsed(earlier)
    if not (isinstance(left, dict) and isinstance(right, dict)):
        yield from _changed_plain(name, value, earlier)
        return
    flat_now, flat_before = dict(_flat(left)), dict(_flat(right))
    for key in sorted({*flat_now, *flat_before}):
        if flat_now.get(key) != flat_before.get(key):
            yield from _changed_plain(key, flat_now.get(key), flat_before.get(key))


def _parsed(value: Any) -> Any:
    try:
        return json.loads(value)
    except (TypeError, ValueError):
        return value


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _short(value: Any) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
