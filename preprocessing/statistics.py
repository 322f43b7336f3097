# mypy: allow-untyped-calls
"""Exact counts in sparse form: distinct values with how often each occurs."""

import math
from collections.abc import Iterable
from typing import Any

import apache_beam as beam
import numpy as np
import numpy.typing as npt

Counts = tuple[npt.NDArray[Any], npt.NDArray[np.int64]]
"""Distinct values, ascending, and int64 counts, of the same length."""


def count_values(values: npt.NDArray[Any]) -> Counts:
    """Counts of the distinct values of an array."""
    distinct, counts = np.unique(values, return_counts=True)
    return distinct, counts.astype(np.int64)


def count_seconds(timestamp: npt.NDArray[np.float64]) -> Counts:
    """Counts of whole seconds: finer times are nearly all distinct, and would be held one by one."""
    return count_values(np.floor(timestamp))


def add_counts(parts: Iterable[Counts]) -> Counts:
    """Counts of everything that the parts counted."""
    parts = list(parts)
    if not parts:
        return np.zeros(0), np.zeros(0, np.int64)
    if len(parts) == 1:
        return parts[0]
    values = np.concatenate([part for part, _ in parts])
    if not len(values):
        return values, np.zeros(0, np.int64)
    order = np.argsort(values, kind="stable")
    values = values[order]
    begins = np.flatnonzero(np.concatenate([[True], values[1:] != values[:-1]]))
    return values[begins], np.add.reduceat(np.concatenate([counts for _, counts in parts])[order], begins)


def quantile(counts: Counts, share: float) -> float:
    """The value at place ``floor(share * n)`` of all n values in ascending order, or the last.

    Raises:
      ValueError: there are no values.
    """
    values, numbers = counts
    if not len(values):
        raise ValueError("no values to take a quantile of")
    ends = np.cumsum(numbers)
    total = int(ends[-1])
    place = min(math.floor(share * total), total - 1)
    return float(values[np.searchsorted(ends, place, side="right")])


def dense(counts: Counts, size: int) -> npt.NDArray[np.int64]:
    """Counts of the values 0 to ``size - 1``."""
    values, numbers = counts
    filled = np.zeros(size, np.int64)
    filled[values.astype(np.int64)] = numbers
    return filled


class AddCounts(beam.CombineFn):
    """Adds sparse counts; runners combine them before they are shuffled."""

    def create_accumulator(self) -> list[Counts]:
        """Nothing counted yet."""
        return []

    def add_input(self, accumulator: list[Counts], element: Counts) -> list[Counts]:
        """Adds one part; parts of like size are merged, so that none is merged again for every small one."""
        accumulator.append(element)
        while len(accumulator) > 1 and len(accumulator[-2][0]) <= 2 * len(accumulator[-1][0]):
            accumulator[-2:] = [add_counts(accumulator[-2:])]
        return accumulator

    def merge_accumulators(self, accumulators: Iterable[list[Counts]]) -> list[Counts]:
        """Adds what was counted apart."""
        return [add_counts(part for accumulator in accumulators for part in accumulator)]

    def extract_output(self, accumulator: list[Counts]) -> Counts:
        """The counts of all parts."""
        return add_counts(accumulator)
