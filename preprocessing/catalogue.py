"""Validates items and builds the catalogue: distinct, ordered by id, so that an index means the same everywhere."""

import ast
import dataclasses
import decimal
import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple, overload

import numpy as np
import numpy.typing as npt

from preprocessing.parse import check_id
from preprocessing.rows import BadRow, RawBatch
from preprocessing.texts import is_whole, text_of

MAX_DIMENSION: Final = 65_536
_LARGEST: Final = 3e38
_FLOAT: Final = 4
_ANY_TEXT: Final = "surrogatepass"
_SEPARATORS: Final = re.compile(r"[\s,;|]+")
_NAME: Final = r"""(?:'[^'\\]*(?:\\.[^'\\]*)*'|"[^"\\]*(?:\\.[^"\\]*)*"|-?[0-9]{1,20}|None)"""
_PRINTED_NAME: Final = re.compile(_NAME)
_PRINTED_LIST: Final = re.compile(rf"\[\s*(?:{_NAME}\s*(?:,\s*{_NAME}\s*)*)?\]")
"""A list of texts and whole numbers as Python prints it. What numpy prints has no commas."""


@dataclasses.dataclass(frozen=True)
class Item:
    """One item: its texts, its category names, and the vector it brings, float32 [D], if any."""

    item_id: str
    title: str
    description: str
    categories: tuple[str, ...]
    embedding: npt.NDArray[np.float32] | None


class ItemRow(NamedTuple):
    """An item with its place in the input, packed: one worker holds those of the whole catalogue.

    Attributes:
      file, line: where it stands.
      item_id: its id.
      texts: title, description and categories, as JSON.
      vector: that it brings, float32; empty without one.
    """

    file: int
    line: int
    item_id: str
    texts: bytes
    vector: bytes

    @classmethod
    def of(cls, file: int, line: int, item: Item) -> "ItemRow":
        """Packs an item."""
        texts = json.dumps((item.title, item.description, item.categories), ensure_ascii=False)
        vector = b"" if item.embedding is None else item.embedding.tobytes()
        return cls(file, line, item.item_id, texts.encode("utf-8", _ANY_TEXT), vector)

    @property
    def dimension(self) -> int:
        """Of the vector that it brings, 0 without one."""
        return len(self.vector) // _FLOAT

    @property
    def item(self) -> Item:
        """The item."""
        title, description, categories = json.loads(self.texts.decode("utf-8", _ANY_TEXT))
        embedding = np.frombuffer(self.vector, np.float32) if self.vector else None
        return Item(self.item_id, title, description, tuple(categories), embedding)


class Items(Sequence[Item]):
    """Items that are unpacked when they are asked for."""

    def __init__(self, rows: Sequence[ItemRow]):
        """Takes the packed ones."""
        self._rows = rows

    @property
    def ids(self) -> list[str]:
        """All ids."""
        return [row.item_id for row in self._rows]

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, place: int) -> Item: ...

    @overload
    def __getitem__(self, place: slice) -> list[Item]: ...

    def __getitem__(self, place: int | slice) -> Item | list[Item]:
        if isinstance(place, slice):
            return [row.item for row in self._rows[place]]
        return self._rows[place].item


@dataclasses.dataclass(frozen=True)
class Catalogue:
    """The items ordered by id (bytewise), and the rows that had to give way to others, without their raw text.

    That is too much to carry along with every item; whoever shows the few reads them again.
    """

    items: Items
    bad: list[tuple[int, BadRow]]


def parse_items(batch: RawBatch, file_index: int, max_field_bytes: int) -> tuple[list[ItemRow], list[BadRow]]:
    """Validates one batch of the file with the given number; bad rows come by line."""
    rows: list[ItemRow] = []
    bad = list(batch.bad)
    columns = batch.columns
    for i, line in enumerate(batch.lines.tolist()):
        item, reason, detail = _item({role: column[i] for role, column in columns.items()}, max_field_bytes)
        if item is None:
            bad.append(BadRow(line, reason, detail, batch.raw(i)))
        else:
            rows.append(ItemRow.of(file_index, line, item))
    return rows, sorted(bad, key=lambda row: row.line)


def build_catalogue(rows: Iterable[ItemRow], paths: Sequence[str]) -> Catalogue:
    """Keeps the first row of each id, by file and line, whose vector has the dimension that most vectors have.

    Args:
      rows: valid items in any order.
      paths: of the files that the rows' numbers stand for.
    """
    ordered = sorted(rows, key=lambda row: (row.file, row.line))
    dimensions = Counter(row.dimension for row in ordered if row.dimension)
    dimension = min(dimensions, key=lambda size: (-dimensions[size], size)) if dimensions else 0
    first: dict[str, ItemRow] = {}
    bad: list[tuple[int, BadRow]] = []
    for row in ordered:
        if row.dimension not in (0, dimension):
            detail = f"the embedding has {row.dimension} numbers, most have {dimension}"
            bad.append((row.file, BadRow(row.line, "bad_embedding", detail, "")))
        elif (earlier := first.setdefault(row.item_id, row)) is not row:
            detail = f"item {row.item_id!r} stands in {paths[earlier.file]}:{earlier.line} already"
            bad.append((row.file, BadRow(row.line, "duplicate_item", detail, "")))
    return Catalogue(Items([first[name] for name in sorted(first, key=lambda name: name.encode("utf-8"))]), bad)


def split_categories(value: Any) -> tuple[str, ...]:
    """Category names of a `|`-separated text, a list, a list written as text, or a number, each once, in their order.

    Names are trimmed. Whole numbers are names too, also where gaps have made floats of their column.

    Raises:
      TypeError: it is none of these, or the list holds something else than texts and whole numbers.
    """
    if isinstance(value, str):
        listed = _listed(value)
        names: Sequence[Any] = value.split("|") if listed is None else listed
    else:
        names = value if isinstance(value, list | tuple) else [value]
    trimmed = ((_category(name) or "").strip() for name in names)
    return tuple(dict.fromkeys(name for name in trimmed if name))


def _listed(text: str) -> list[Any] | None:
    """The list that a text spells, in JSON or as Python prints it; None where it spells none."""
    text = text.strip()
    if not (text.startswith("[") and text.endswith("]")):
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        if not _PRINTED_LIST.fullmatch(text):
            return None
        try:
            # One name at a time: of nothing nested, however long it is.
            return [ast.literal_eval(name) for name in _PRINTED_NAME.findall(text)]
        except (ValueError, SyntaxError):
            return None
    return value if isinstance(value, list) else None


def _category(value: Any) -> str | None:
    if isinstance(value, float | decimal.Decimal) and not is_whole(value) and not math.isnan(value):
        raise TypeError(f"categories hold {value}, which is no whole number; expected names")
    if not isinstance(value, str | bytes | int | float | decimal.Decimal | None):
        raise TypeError("categories hold something else than texts and numbers")
    # As in ids, so that typed formats and CSV give the same.
    return text_of("categories", value)


def parse_embedding(value: Any) -> npt.NDArray[np.float32] | None:
    """A vector from numbers in an array or a list, or from a text of numbers; ``None`` without any, or only zeros.

    Raises:
      ValueError: something in it is no finite number, or it is empty or far too long.
    """
    if value is None:
        return None
    if isinstance(value, str):
        text = value.strip()
        if not text:
            return None
        try:
            value = json.loads(text) if text.startswith("[") else _SEPARATORS.split(text)
        except json.JSONDecodeError:
            raise ValueError(f"{text[:40]!r} is no list of numbers; write it as [0.1, 0.2], or as 0.1 0.2") from None
        if not isinstance(value, list):
            raise ValueError("no list of numbers")
        if any(isinstance(number, bool) or not isinstance(number, int | float | str) for number in value):
            raise ValueError("not all entries are numbers")
        value = [float(number) for number in value]
    if not isinstance(value, list | np.ndarray) or not 0 < len(value) <= MAX_DIMENSION:
        raise ValueError(f"no list of 1 to {MAX_DIMENSION} numbers")
    # An array has one type for all, and only those of numbers come as one.
    if isinstance(value, list) and any(
        isinstance(number, bool) or not isinstance(number, int | float) for number in value
    ):
        raise ValueError("not all entries are numbers")
    # A double above float32's range would turn into an infinity; NaN is not below the bound either.
    if not (np.abs(np.asarray(value, np.float64)) < _LARGEST).all():
        raise ValueError("not all entries are finite")
    vector = np.array(value, np.float32)
    return vector if vector.any() else None


def _item(values: dict[str, Any], max_field_bytes: int) -> tuple[Item | None, str, str]:
    item_id, reason, detail = check_id("item_id", values.get("item_id"))
    if reason:
        return None, reason, detail
    title, description = ((values.get(role) or "").strip() for role in ("title", "description"))
    if "\0" in title or "\0" in description:
        return None, "nul_byte", "a text holds a NUL byte"
    try:
        categories = split_categories(values.get("categories"))
        size = sum(len(name.encode("utf-8")) for name in categories)
    except TypeError as error:
        return None, "wrong_type", str(error)
    except UnicodeError as error:
        return None, "bad_encoding", str(error)
    if size > max_field_bytes:
        return None, "field_too_long", f"categories have {size} bytes, input.max_field_bytes admits {max_field_bytes}"
    if any("\0" in name for name in categories):
        return None, "nul_byte", "a category holds a NUL byte"
    try:
        embedding = parse_embedding(values.get("embedding"))
    except (ValueError, OverflowError, RecursionError) as error:
        return None, "bad_embedding", str(error)
    return Item(item_id, title, description, categories, embedding), "", ""
