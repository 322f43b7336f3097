"""Bars that measured figures have to hold, and one line for each: held or missed."""

import dataclasses
from collections.abc import Sequence


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What was measured beside its bar; ``unit`` is said after both numbers."""

    bar: str
    measured: float
    limit: float
    unit: str = ""
    least: bool = False

    @property
    def holds(self) -> bool:
        """Whether the figure is at most the limit, or where ``least`` is set at least that; NaN never is."""
        return self.measured >= self.limit if self.least else self.measured <= self.limit

    def __str__(self) -> str:
        """For people."""
        relation = "at least" if self.least else "at most"
        word = "holds " if self.holds else "MISSED"
        return f"{word}  {self.bar}: {self.measured:.4g}{self.unit}, {relation} {self.limit:.4g}{self.unit}"


def print_verdicts(verdicts: Sequence[Verdict]) -> None:
    """A line each."""
    for each in verdicts:
        print(each)
