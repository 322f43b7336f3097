"""Progress of long work: a bar on a terminal, plain lines in a log."""

import logging
import sys
import time
from types import TracebackType

from tqdm import tqdm

_LINE_SECONDS = 15.0


class Progress:
    """Counts work done; a context manager.

    On a terminal it draws a bar on standard error; elsewhere it logs a line at most every 15 seconds.
    """

    def __init__(self, logger: logging.Logger, label: str, total: int, unit: str) -> None:
        """Args are where lines go, what is being done, how many units there are, and their name in plural."""
        self._logger = logger
        self._label = label
        self._total = total
        self._unit = unit
        self._done = 0
        self._last_line = time.monotonic()
        terminal = sys.stderr.isatty() and logger.isEnabledFor(logging.INFO)
        self._bar = tqdm(total=total, desc=label, unit=f" {unit}", leave=False) if terminal else None

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def advance(self, units: int = 1, note: str = "") -> None:
        """Adds finished units; ``note`` is shown beside them."""
        self._done += units
        if self._bar is not None:
            self._bar.set_postfix_str(note, refresh=False)
            self._bar.update(units)
        elif time.monotonic() - self._last_line >= _LINE_SECONDS:
            self._last_line = time.monotonic()
            self._logger.info("%s: %d of %d %s %s", self._label, self._done, self._total, self._unit, note)
