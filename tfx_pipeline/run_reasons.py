"""Why a step runs: what differs from its last successful execution, in words."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

FIRST: Final = "it has not run before"
NOTHING: Final = "what it made is gone, or does not count any more"
_CODE: Final = "code"
_FINGERPRINT: Final = "fingerprint"
_CONTENTS: Final = "the contents of the input files have changed"
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
            yield from list(_changed_spans(str(value), str(earlier))) or [
                "the contents of the input files have changed"
            ]
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


def _changed_spans(now: str, before: str) -> Iterator[str]:
    """What is new, newer or no longer read, from two fingerprints.

    >>> list(_changed_spans('a {"interactions": {"1": 2, "3": 1}}', 'b {"interactions": {"0": 1, "1": 1}}'))
    ['interactions: span 3 is new, span 0 is no longer read, span 1 has version 2, had 1']
    """
    left, right = _spans(now), _spans(before)
    for table in sorted(left.keys() & right.keys()):
        found, earlier = left[table], right[table]
        names = sorted({*found, *earlier}, key=lambda name: (len(name), name))
        changes = [f"span {name} is new" for name in names if name not in earlier]
        changes += [f"span {name} is no longer read" for name in names if name not in found]
        changes += [
            f"span {name} has version {found[name]}, had {earlier[name]}"
            for name in names
            if name in found and name in earlier and found[name] != earlier[name]
        ]
        more = len(changes) - _SHOWN
        if changes:
            yield f"{table}: {', '.join(changes[:_SHOWN])}" + (f" and {more} more" if more > 0 else "")


def _spans(fingerprint: str) -> dict[str, dict[str, Any]]:
    found = _parsed(fingerprint.partition(" ")[2])
    return found if isinstance(found, dict) else {}


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
