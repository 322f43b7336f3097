"""What travels from the readers of files to the validation of rows."""

import dataclasses
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import numpy.typing as npt

RAW_BYTES: Final = 4096
"""Of a line that is too long, this much is shown."""


@dataclasses.dataclass(frozen=True)
class BadRow:
    """A row that cannot be used: its line, the reason as a word, the reason in detail, and the row as it stood."""

    line: int
    reason: str
    detail: str
    raw: str


@dataclasses.dataclass(frozen=True)
class FileFault:
    """Why a file could not be read whole: the reason as a word and in detail."""

    reason: str
    detail: str


@dataclasses.dataclass(frozen=True)
class RawBatch:
    """Consecutive rows of one file as columns, not yet validated.

    Attributes:
      lines: int64 [n], line (or row of a Parquet file) of each row, from 1.
      columns: values by role (``user_id``, ``title`` ...), n each; text or ``None``, except that ``categories`` and
        ``embedding`` may hold lists, ``embedding`` arrays too. A column that the file doesn't have is absent.
      raw: the i-th row as it stood in the file.
      bad: rows of this stretch that the reader could not take apart; not among the n.
      blank_lines: lines of this stretch without any content; not among the n.
    """

    lines: npt.NDArray[np.int64]
    columns: dict[str, list[Any]]
    raw: Callable[[int], str]
    bad: list[BadRow]
    blank_lines: int

    @property
    def rows_in(self) -> int:
        """All rows of this stretch, good and bad."""
        return len(self.lines) + len(self.bad) + self.blank_lines


def shown(data: bytes) -> str:
    """Bytes of unknown encoding as text, undecodable ones escaped."""
    return data.decode("utf-8", "backslashreplace")
