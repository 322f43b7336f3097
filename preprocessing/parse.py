"""Validates interactions: columns of text become columns of numbers, and every other row gets its reason."""

import dataclasses
import datetime
import functools
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence, Sized
from typing import Any, Final, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from preprocessing.config import InputConfig
from preprocessing.dates import written_out
from preprocessing.errors import UserError
from preprocessing.faults import Faults, distinct_values
from preprocessing.rows import BadRow, RawBatch

MAX_ID_BYTES: Final = 512
LAST_SECOND: Final = 7_258_118_400.0
"""2200-01-01, in unix seconds."""
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_NUMBER: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


@dataclasses.dataclass(frozen=True)
class Rows:
    """Valid interactions as columns.

    Attributes:
      users: distinct user ids, UTF-8.
      user: int32 [n], place in ``users``.
      sessions: distinct session ids, UTF-8; one empty one where the log has none.
      session: int32 [n], place in ``sessions``.
      item: int32 [n], item indices.
      timestamp: float64 [n], unix seconds.
      position: int64 [n], place in the input: number of the file times 2^40, plus the line.
    """

    users: list[bytes]
    user: npt.NDArray[np.int32]
    sessions: list[bytes]
    session: npt.NDArray[np.int32]
    item: npt.NDArray[np.int32]
    timestamp: npt.NDArray[np.float64]
    position: npt.NDArray[np.int64]

    def __len__(self) -> int:
        """Number of rows n."""
        return len(self.item)


ParsedRows = TypeVar("ParsedRows", bound=Sized)
"""Valid rows of one table as columns: ``Rows`` of interactions, ``AnnotationRows`` of annotations."""


@dataclasses.dataclass(frozen=True)
class Validated(Generic[ParsedRows]):
    """What became of a batch: the valid rows, the bad ones by line, good ones dropped by rule, and all read.

    ``other_events`` counts the values of ``event`` that the rule about it dropped.
    """

    rows: ParsedRows
    bad: list[BadRow]
    dropped: dict[str, int]
    rows_in: int
    other_events: Mapping[str, int] = dataclasses.field(default_factory=dict)


def parse_time(text: str) -> float:
    """Unix seconds of a time written as a number or in ISO 8601; without a zone it is UTC.

    Raises:
      ValueError: it is neither.
    """
    text = text.strip()
    if _NUMBER.fullmatch(text):
        return float(text)
    if text[-1:] in ("Z", "z"):
        text = text[:-1] + "+00:00"
    return _iso(text)


def _iso(text: str) -> float:
    # The basic form, 20120101T120000Z; without a time of day it would be a number.
    match = re.fullmatch(r"(\d{4})(\d{2})(\d{2})T(\d{2})(\d{2})(\d{2})(.*)", text)
    if match:
        text = f"{'-'.join(match.groups()[:3])}T{':'.join(match.groups()[3:6])}{match[7]}"
    # Python 3.10 reads fractions of three or six digits only, and +HH:MM but neither +HHMM nor +HH.
    match = re.fullmatch(r"(\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}:\d{2})[.,](\d{1,9})(.*)", text)
    if match:
        text = f"{match[1]}.{match[2][:6].ljust(6, '0')}{match[3]}"
    match = re.fullmatch(r"(\d{4}-\d{2}-\d{2}[T ].*[+-]\d{2})(\d{2})?", text)
    if match:
        text = f"{match[1]}:{match[2] or '00'}"
    moment = datetime.datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=datetime.timezone.utc)).timestamp()


def check_id(role: str, text: str | None) -> tuple[str, str, str]:
    """An id without surrounding spaces, and the reason and detail of why it cannot be used, if so."""
    text = (text or "").strip(" ")
    if not text:
        return "", f"missing_{role}", f"{role} is empty"
    if "\0" in text:
        return text, "nul_byte", f"{role} holds a NUL byte"
    if _CONTROL.search(text):
        return text, "control_character", f"{role} holds a control character"
    if len(text) * 4 > MAX_ID_BYTES and len(text.encode("utf-8")) > MAX_ID_BYTES:
        return text, "field_too_long", f"{role} has {len(text.encode('utf-8'))} bytes, at most {MAX_ID_BYTES} are taken"
    return text, "", ""


def check_item(role: str, item_index: Mapping[str, int], text: str | None) -> tuple[int, str, str]:
    """The index of the item that a ``role`` names, and the reason and detail of why there is none, if so."""
    name, reason, detail = check_id(role, text)
    if reason:
        return 0, reason, detail
    index = item_index.get(name)
    if index is None:
        return 0, f"unknown_{role.removesuffix('_id')}", f"{_short(name)} is not in the catalogue"
    return index, "", ""


def check_time(text: str | None) -> tuple[float, str, str]:
    """Unix seconds, and the reason and detail of why they cannot be used, if so."""
    if text is None or not text.strip():
        return 0.0, "missing_timestamp", "timestamp is empty"
    try:
        seconds = parse_time(text)
    except (ValueError, OverflowError):
        return 0.0, "bad_timestamp", f"{_short(text)} is neither unix seconds nor ISO 8601"
    if not math.isfinite(seconds):
        return 0.0, "bad_timestamp", f"{_short(text)} is not a finite number"
    if seconds < 0:
        return 0.0, "negative_timestamp", f"{_short(text)} is before 1970"
    if seconds >= LAST_SECOND:
        if not _NUMBER.fullmatch(text.strip()):
            return 0.0, "timestamp_out_of_range", f"{_short(text)} is beyond the year 2200"
        if date := written_out(f"{seconds:.0f}"):
            return 0.0, "bad_timestamp", f"{_short(text)} is a date written as a number; write {date}"
        if seconds / 1000 < LAST_SECOND:
            return 0.0, "timestamp_in_milliseconds", f"{_short(text)} is no time in unix seconds; divide it by 1000"
        return 0.0, "timestamp_out_of_range", f"{_short(text)} seconds are beyond the year 2200"
    return seconds, "", ""


def check_value(text: str | None) -> tuple[float, str, str]:
    """A finite number, and the reason and detail of why it cannot be used, if so."""
    if text is None or not text.strip():
        return 0.0, "missing_value", "value is empty, and input.min_value needs it"
    return _check_number("value", text)


def check_grade(text: str | None) -> tuple[float, str, str]:
    """A grade from 0 to 1, and the reason and detail of why it cannot be used, if so."""
    if text is None or not text.strip():
        return 0.0, "missing_grade", "grade is empty"
    grade, reason, detail = _check_number("grade", text)
    if not reason and not 0 <= grade <= 1:
        return 0.0, "grade_out_of_range", f"{_short(text)} is not from 0 to 1; bring the grades to that scale"
    return abs(grade), reason, detail


def _check_number(role: str, text: str) -> tuple[float, str, str]:
    if _NUMBER.fullmatch(text.strip()) and math.isfinite(float(text)):
        return float(text), "", ""
    return 0.0, f"bad_{role}", f"{_short(text)} is not a finite number"


def _check_session(text: str | None) -> tuple[str, str, str]:
    # Rows without a session id share the empty one, so that the user's other rows stay together.
    return check_id("session_id", text) if text and text.strip(" ") else ("", "", "")


class InteractionParser:
    """Validates batches of one file of interactions against the catalogue and the configuration's filters."""

    def __init__(self, config: InputConfig, item_index: Mapping[str, int]):
        """Takes the configuration and each known item's index."""
        self._min_value = config.min_value
        self._events = frozenset(event.strip() for event in config.events)
        self._item_index = item_index

    def parse(self, batch: RawBatch, file_index: int) -> Validated[Rows]:
        """Validates one batch of the file with the given number."""
        count = len(batch.lines)
        columns = batch.columns
        dropped = {"blank_line": batch.blank_lines}
        if not count:
            return Validated(empty_rows(), batch.bad, dropped, batch.rows_in)
        faults = Faults(count)
        users, user = faults.apply(columns.get("user_id"), functools.partial(check_id, "user_id"))
        items, item = faults.apply(columns.get("item_id"), functools.partial(check_item, "item_id", self._item_index))
        times, time = faults.apply(columns.get("timestamp"), check_time)
        sessions, session = [""], np.zeros(count, np.int32)
        if "session_id" in columns:
            sessions, session = faults.apply(columns["session_id"], _check_session)
        keep = faults.good()
        other_events: Counter[str] = Counter()
        if self._events:
            events, event = distinct_values(columns.get("event", [None] * count))
            kinds = [(text or "").strip() for text in events]
            wanted = np.array([kind in self._events for kind in kinds], np.bool_)[event]
            numbers = np.bincount(event[keep & ~wanted], minlength=len(kinds))
            for kind, number in zip(kinds, numbers.tolist(), strict=True):
                if number:
                    other_events[kind] += number
            keep = self._drop(dropped, "event_filter", keep, wanted)
        if self._min_value is not None:
            values, value = faults.apply(columns.get("value"), check_value, among=keep)
            keep &= faults.good()
            large = np.array(values, np.float64)[value] >= self._min_value
            keep = self._drop(dropped, "below_min_value", keep, large)
        bad = sorted([*batch.bad, *faults.rows(batch)], key=lambda row: row.line)
        distinct_users, user = _compact(users, user[keep])
        distinct_sessions, session = _compact(sessions, session[keep])
        rows = Rows(
            users=distinct_users,
            user=user,
            sessions=distinct_sessions,
            session=session,
            item=np.array(items, np.int32)[item[keep]],
            timestamp=np.array(times, np.float64)[time[keep]],
            position=batch.lines[keep] + (file_index << 40),
        )
        return Validated(rows, bad, dropped, batch.rows_in, other_events)

    @staticmethod
    def _drop(
        dropped: dict[str, int], rule: str, keep: npt.NDArray[np.bool_], passing: npt.NDArray[np.bool_]
    ) -> npt.NDArray[np.bool_]:
        left = keep & passing
        dropped[rule] = int(keep.sum() - left.sum())
        return np.asarray(left)


def _compact(values: Sequence[str], codes: npt.NDArray[np.int32]) -> tuple[list[bytes], npt.NDArray[np.int32]]:
    """Only the values that occur, as UTF-8."""
    used, places = np.unique(codes, return_inverse=True)
    return [values[i].encode("utf-8") for i in used], places.astype(np.int32)


def empty_rows() -> Rows:
    """No rows at all."""
    none = np.zeros(0, np.int32)
    return Rows([], none, [], none, none, np.zeros(0, np.float64), np.zeros(0, np.int64))


def concat_rows(parts: Sequence[Rows]) -> Rows:
    """All rows of the parts, one part after the other."""
    if not parts:
        return empty_rows()
    users: dict[bytes, int] = {}
    sessions: dict[bytes, int] = {}
    return Rows(
        user=np.concatenate([_merge(users, part.users)[part.user] for part in parts]),
        session=np.concatenate([_merge(sessions, part.sessions)[part.session] for part in parts]),
        item=np.concatenate([part.item for part in parts]),
        timestamp=np.concatenate([part.timestamp for part in parts]),
        position=np.concatenate([part.position for part in parts]),
        users=list(users),
        sessions=list(sessions),
    )


def _merge(known: dict[bytes, int], values: Sequence[bytes]) -> npt.NDArray[np.int32]:
    """Places of the values in ``known``, to which new ones are added."""
    return np.array([known.setdefault(value, len(known)) for value in values], np.int32)


def take_rows(rows: Rows, chosen: npt.NDArray[Any]) -> Rows:
    """The chosen rows, in that order, with only their own users and sessions."""
    user, user_places = np.unique(rows.user[chosen], return_inverse=True)
    session, session_places = np.unique(rows.session[chosen], return_inverse=True)
    return Rows(
        users=[rows.users[i] for i in user],
        user=user_places.astype(np.int32),
        sessions=[rows.sessions[i] for i in session],
        session=session_places.astype(np.int32),
        item=rows.item[chosen],
        timestamp=rows.timestamp[chosen],
        position=rows.position[chosen],
    )


def parse_split_time(text: str) -> float:
    """The configured split time in unix seconds.

    Raises:
      UserError: it is no time.
    """
    seconds, _, detail = check_time(text)
    if detail:
        raise UserError(f"split.time: {detail}; expected for example 1325376000 or 2012-01-01")
    if date := written_out(text.strip()):
        raise UserError(f"split.time is {text}, which would be read as unix seconds; write it as {date}")
    return seconds


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:60] + "...")
