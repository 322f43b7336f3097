"""Dates and times without marks, such as 20120113 or 201201132359: numbers, which pass for unix seconds."""

import datetime
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from preprocessing.errors import UserError

if TYPE_CHECKING:
    from preprocessing.statistics import Counts

_FORMS: Final = {8: "%Y%m%d", 10: "%Y%m%d%H", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}
"""By the number of digits; `strptime` alone would also take fewer."""
_FIRST_YEAR: Final = 1970
_LAST_YEAR: Final = 2199
_LEAST_ROWS: Final = 20
_SHARE: Final = 3
"""A log whose times look like dates in one row of so many holds dates: of other times one in 27 does by chance."""


def written_out(digits: str) -> str:
    """The date or time that digits stand for in ISO 8601, or nothing where they stand for none.

    >>> written_out("20120113"), written_out("201201132359"), written_out("20121350"), written_out("1500000000")
    ('2012-01-13', '2012-01-13T23:59', '', '')
    """
    if not (digits.isascii() and digits.isdigit()) or len(digits) not in _FORMS:
        return ""
    try:
        moment = datetime.datetime.strptime(digits, _FORMS[len(digits)])
    except ValueError:
        return ""
    if not _FIRST_YEAR <= moment.year <= _LAST_YEAR:
        return ""
    if len(digits) == 8:
        return f"{moment:%Y-%m-%d}"
    return moment.isoformat(timespec="seconds" if len(digits) == 14 else "minutes")


class DateWatch:
    """Finds out whether times are dates of 8 or 10 digits: each alone may be unix seconds, so it takes many to tell."""

    def __init__(self) -> None:
        self._rows = 0
        self._dates = 0
        self._example = 0.0

    def add(self, times: "Counts") -> None:
        """Takes in how often each second occurs."""
        values, counts = times
        dates = _look_like_dates(values)
        self._rows += int(counts.sum())
        if dates.any():
            if not self._example:
                self._example = next((value for value in values[dates].tolist() if written_out(f"{value:.0f}")), 0.0)
            self._dates += int(counts[dates].sum())

    def check(self, where: str) -> None:
        """Refuses dates; ``where`` says whose times they are.

        Raises:
          UserError: too many times look like dates for that to be chance.
        """
        if not self._example or self._rows < _LEAST_ROWS or _SHARE * self._dates < self._rows:
            return
        digits = f"{self._example:.0f}"
        year = datetime.datetime.fromtimestamp(self._example, datetime.timezone.utc).year
        raise UserError(
            f"{self._dates:,} of {self._rows:,} timestamps in {where} are dates such as {digits}, which would be read "
            f"as unix seconds, of {year}; write them with hyphens: {written_out(digits)}"
        )


def _look_like_dates(values: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Whether each number has the digits of a date or, with two more, of an hour of one."""
    hours = values >= 1e9
    days = np.where(hours, values // 100, values)
    year, month, day = days // 10_000, days // 100 % 100, days % 100
    return np.asarray(
        (year >= _FIRST_YEAR)
        & (year <= _LAST_YEAR)
        & (month >= 1)
        & (month <= 12)
        & (day >= 1)
        & (day <= 31)
        & (~hours | (values % 100 < 24))
    )
