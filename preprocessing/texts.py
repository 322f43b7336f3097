"""Values of typed formats (JSON, Parquet) as the text that the validation reads."""

import datetime
import decimal
import math
from collections.abc import Iterable, Mapping
from typing import Any, Final

import numpy as np

TEXT_ROLES: Final = (
    "user_id",
    "item_id",
    "timestamp",
    "event",
    "value",
    "session_id",
    "title",
    "description",
    "trigger_id",
    "grade",
)
NUMBER_ROLES: Final = ("timestamp", "value", "grade")


def text_of(role: str, value: Any) -> str | None:
    """A scalar as text: whole numbers as ids without a point, times as unix seconds.

    Raises:
      TypeError: it is a list, an object or a truth value.
    """
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool | np.bool_):
        raise TypeError(f"{role} is a truth value")
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float | decimal.Decimal):
        if role not in NUMBER_ROLES and is_whole(value):
            return str(int(value))
        # Pandas writes a missing id in a column of numbers as NaN.
        return None if value != value and role not in NUMBER_ROLES else str(value)
    if isinstance(value, bytes):
        return value.decode("utf-8")
    if isinstance(value, datetime.datetime):
        moment = value if value.tzinfo else value.replace(tzinfo=datetime.timezone.utc)
        return repr(moment.timestamp())
    if isinstance(value, datetime.date):
        return value.isoformat()
    raise TypeError(f"{role} is {_kind(value)}")


def is_whole(value: float | decimal.Decimal) -> bool:
    """Whether a number, which may be infinite or none, is a whole one."""
    return math.isfinite(value) and value == int(value)


def scalar_texts(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row with its scalars as text; ``categories`` and ``embedding`` stay as they are.

    Raises:
      TypeError: a scalar has a type that cannot be read as one.
      UnicodeError: a text that has no encoding in UTF-8.
    """
    values: dict[str, Any] = {}
    for role, value in row.items():
        if role in TEXT_ROLES:
            text = text_of(role, value)
            if text is not None and not text.isascii():
                text.encode("utf-8")
            values[role] = text
        else:
            values[role] = value.decode("utf-8") if isinstance(value, bytes) else value
    return values


def length_fault(texts: Iterable[tuple[str, str | None]], max_field_bytes: int) -> str:
    """What is wrong with the length of texts by role, if anything."""
    for role, text in texts:
        if text is not None and 4 * len(text) > max_field_bytes:
            size = len(text.encode("utf-8"))
            if size > max_field_bytes:
                return f"{role} has {size} bytes, input.max_field_bytes admits {max_field_bytes}"
    return ""


def _kind(value: Any) -> str:
    if isinstance(value, list):
        return "a list"
    return "an object" if isinstance(value, dict) else f"of type {type(value).__name__}"
