"""Spans and versions of input: which of the files that a pattern stands for are read.

A log that grows by days lies in spans, ``log/span-{SPAN}/v-{VERSION}/*.csv``, spelled as TFX's ExampleGen spells them:
``{SPAN}`` is a number, or ``{YYYY}``, ``{MM}`` and ``{DD}`` together are a date; ``{VERSION}`` counts what was written
of a span; ``{SPAN:4}`` has four digits. Of each span the newest version is read, and of the spans the last few, where
ExampleGen reads the newest alone. TFX's own functions are not called: importing them takes longer than the listing.
"""

import dataclasses
import datetime
import fnmatch
import itertools
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from preprocessing.errors import UserError

SPAN: Final = "SPAN"
VERSION: Final = "VERSION"
_DATE: Final = ("YYYY", "MM", "DD")
_SPEC: Final = re.compile(r"\{(?P<name>SPAN|VERSION|YYYY|MM|DD)(?::(?P<width>[^{}]*))?\}")
_ADJACENT: Final = re.compile(r"(?:\{(?:SPAN|VERSION|YYYY|MM|DD)(?::[^{}]*)?\})+")
_GLOB: Final = re.compile(r"\*\*/|\*\*|\*|\?|\[[^\]]+\]")
_EPOCH: Final = datetime.date(1970, 1, 1)
_SHOWN: Final = 10

_LOGGER: Final = logging.getLogger("mtmh.preprocessing")

Files = dict[str, int]
"""Sizes in bytes by path."""


@dataclasses.dataclass(frozen=True, order=True)
class Span:
    """A span that is read: its number, or days since 1970-01-01 of its date; its version, None where there are none."""

    number: int
    version: int | None = None
    dated: bool = False

    @property
    def name(self) -> str:
        """The number, or the date."""
        return str(_EPOCH + datetime.timedelta(self.number)) if self.dated else str(self.number)

    def __str__(self) -> str:
        return self.name if self.version is None else f"{self.name} (version {self.version})"


def has_spans(pattern: str) -> bool:
    """Whether a pattern names spans, versions or dates.

    >>> has_spans("log/span-{SPAN}/*.csv"), has_spans("log/*.csv")
    (True, False)
    """
    return bool(_SPEC.search(pattern))


def find_spans(
    pattern: str, match: Callable[[str], Files], newest: int | None, *, gaps: bool = False
) -> dict[Span, Files]:
    """The newest version of each of the last spans, in their order, and its files.

    Args:
      pattern: a glob with specs in it.
      match: lists the files of a glob.
      newest: how many numbers, or days, up to the last span count; None for all.
      gaps: whether a span may be missing among them.

    Raises:
      UserError: the pattern is none, nothing matches it, a span is missing, or a version is there twice.
    """
    _check(pattern)
    found, strange = _by_version(pattern, match(_ADJACENT.sub("*", pattern)))
    if not found:
        raise UserError(f"no file matches {pattern!r}{_nearest(strange)}")
    if strange:
        _LOGGER.warning("%s: %d files are ignored%s", pattern, len(strange), _nearest(strange))
    versions = dict(sorted(found))  # of each span the last, that is the newest
    first = max(min(versions), 0 if newest is None else max(versions) - newest + 1)
    numbers = [number for number in versions if number >= first]
    dated = SPAN not in _names(pattern)
    if not gaps:
        _check_gaps(pattern, first, numbers, dated=dated)
    chosen = {}
    for number in numbers:
        span = Span(number, versions[number] if VERSION in _names(pattern) else None, dated)
        chosen[span] = _only_spelling(pattern, span, found[number, versions[number]])
    return chosen


def describe(spans: Sequence[Span]) -> str:
    """Which spans these are, in one line.

    >>> describe([Span(number, 1) for number in range(20)])
    'spans 0 (version 1), 1 (version 1), 16 more, 18 (version 1), 19 (version 1)'
    """
    names = [str(span) for span in spans]
    if len(names) > _SHOWN:
        names = [*names[:2], f"{len(names) - 4} more", *names[-2:]]
    return f"span{'s' if len(spans) > 1 else ''} {', '.join(names)}"


def _names(pattern: str) -> list[str]:
    return [match["name"] for match in _SPEC.finditer(pattern)]


def _check(pattern: str) -> None:
    """Admits what ExampleGen's ``verify_split_pattern_specs`` admits."""
    names = _names(pattern)
    if len(names) != len(set(names)):
        raise UserError(f"{pattern!r} names a part twice; expected {{SPAN}}, {{VERSION}} and parts of a date once each")
    dated = [name for name in names if name in _DATE]
    if dated and (len(dated) != len(_DATE) or SPAN in names):
        raise UserError(f"{pattern!r}: expected either {{SPAN}} or all of {{YYYY}}, {{MM}} and {{DD}}")
    if VERSION in names and not dated and SPAN not in names:
        raise UserError(f"{pattern!r} has a {{VERSION}} of no span; expected {{SPAN}} or a date beside it")
    for match in _SPEC.finditer(pattern):
        width = match["width"]
        if width is not None and (match["name"] in _DATE or not width.isdecimal() or int(width) < 1):
            raise UserError(f"{pattern!r}: {match[0]} has no usable width; expected such as {{SPAN:4}}, four digits")


def _by_version(pattern: str, files: Files) -> tuple[dict[tuple[int, int], dict[tuple[str, ...], Files]], list[str]]:
    """Files by span and version, and these by how both are spelled; and the files in whose path neither can be read."""
    found: dict[tuple[int, int], dict[tuple[str, ...], Files]] = {}
    strange: list[str] = []
    regex = re.compile(_regex(pattern))
    for path, size in sorted(files.items()):
        match = regex.fullmatch(path)
        number = None if match is None else _number(match)
        if match is None or number is None:
            strange.append(path)
            continue
        version = int(match[VERSION]) if VERSION in regex.groupindex else 0
        found.setdefault((number, version), {}).setdefault(match.groups(), {})[path] = size
    return found, strange


def _number(match: re.Match[str]) -> int | None:
    if SPAN in match.re.groupindex:
        return int(match[SPAN])
    try:
        return (datetime.date(*(int(match[name]) for name in _DATE)) - _EPOCH).days
    except ValueError:
        return None


def _regex(pattern: str) -> str:
    """The pattern with its specs as groups of digits."""
    parts, end = [], 0
    for match in _SPEC.finditer(pattern):
        name, width = match["name"], match["width"]
        digits = {"YYYY": r"\d{4}", "MM": r"\d{2}", "DD": r"\d{2}"}.get(name, rf"\d{{{width}}}" if width else r"\d+")
        parts += [_glob_regex(pattern[end : match.start()]), f"(?P<{name}>{digits})"]
        end = match.end()
    return "".join([*parts, _glob_regex(pattern[end:])])


def _glob_regex(text: str) -> str:
    wild = {"**/": r"(?:.*/)?", "**": r".*", "*": r"[^/]*", "?": r"[^/]"}
    parts, end = [], 0
    for match in _GLOB.finditer(text):
        parts += [re.escape(text[end : match.start()]), wild.get(match[0]) or _class_regex(match[0])]
        end = match.end()
    return "".join([*parts, re.escape(text[end:])])


def _class_regex(characters: str) -> str:
    """``[!0-9]`` of a glob."""
    return fnmatch.translate(characters).removeprefix("(?s:").removesuffix(")\\Z")


def _only_spelling(pattern: str, span: Span, spelled: Mapping[tuple[str, ...], Files]) -> Files:
    first, *others = spelled.values()
    if others:
        raise UserError(
            f"{pattern!r}: {next(iter(first))} and {next(iter(others[0]))} are both span {span}; remove one, or write "
            "all with the same number of digits"
        )
    return first


def _check_gaps(pattern: str, first: int, numbers: list[int], *, dated: bool) -> None:
    """Checks that the spans from ``first`` on are all there."""
    last, there = numbers[-1], set(numbers)
    count = last - first + 1 - len(numbers)
    if count:
        gaps = itertools.islice((number for number in range(first, last) if number not in there), _SHOWN)
        missing = ", ".join(Span(number, None, dated).name for number in gaps)
        more = f" and {count - _SHOWN} more" if count > _SHOWN else ""
        raise UserError(
            f"{pattern!r} has spans up to {Span(last, None, dated)}, but not {missing}{more}: bring what is missing, "
            "or say that it may be: --set input.span_gaps=true"
        )


def _nearest(strange: list[str]) -> str:
    if not strange:
        return ""
    return f": what stands in the places of its spans is no number or date in {', '.join(strange[:3])}"
