"""Finds the first fault of each row of a batch, column by column."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from preprocessing.rows import BadRow, RawBatch


class Faults:
    """The first fault of each row, found by checking distinct values instead of rows."""

    def __init__(self, count: int):
        self._count = count
        self._of_row = np.full(count, -1, np.int32)
        self._known: list[tuple[str, str]] = []

    def apply(
        self,
        column: Sequence[Any] | None,
        check: Callable[[str | None], tuple[Any, str, str]],
        among: npt.NDArray[np.bool_] | None = None,
    ) -> tuple[list[Any], npt.NDArray[np.int32]]:
        """Checks a column, or its rows ``among``; returns checked distinct values and each row's place in them."""
        distinct, codes = distinct_values(column) if column is not None else ([None], np.zeros(self._count, np.int32))
        values: list[Any] = []
        fault = np.full(len(distinct), -1, np.int32)
        for i, text in enumerate(distinct):
            value, reason, detail = check(text)
            values.append(value)
            if reason:
                fault[i] = len(self._known)
                self._known.append((reason, detail))
        of_row = fault[codes]
        if among is not None:
            of_row = np.where(among, of_row, -1)
        self._of_row = np.where(self._of_row < 0, of_row, self._of_row)
        return values, codes

    def mark(self, rows: npt.NDArray[np.bool_], reason: str, detail: str) -> None:
        """Notes a fault that no single column shows; rows that have one already keep it."""
        self._of_row[rows & self.good()] = len(self._known)
        self._known.append((reason, detail))

    def good(self) -> npt.NDArray[np.bool_]:
        """Rows without a fault so far."""
        return np.asarray(self._of_row < 0)

    def rows(self, batch: RawBatch) -> list[BadRow]:
        """The rows with a fault."""
        bad: list[BadRow] = []
        for i in np.flatnonzero(self._of_row >= 0).tolist():
            reason, detail = self._known[self._of_row[i]]
            bad.append(BadRow(int(batch.lines[i]), reason, detail, batch.raw(i)))
        return bad


def distinct_values(column: Sequence[Any]) -> tuple[list[str | None], npt.NDArray[np.int32]]:
    """Distinct values of a column of text, and each row's place among them."""
    encoded = pa.array(column, pa.string()).dictionary_encode(null_encoding="encode")
    return encoded.dictionary.to_pylist(), encoded.indices.to_numpy().astype(np.int32, copy=False)
