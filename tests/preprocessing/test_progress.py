"""Progress: lines in a log, a bar on a terminal."""

import io
import logging
import sys

import pytest

from preprocessing import progress as progress_module
from preprocessing.progress import Progress

LOGGER = logging.getLogger("mtmh.test_progress")


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(progress_module.time, "monotonic", lambda: now[0])
    return now


def test_a_log_gets_a_line_every_fifteen_seconds(clock, caplog):
    caplog.set_level(logging.INFO, logger=LOGGER.name)
    with Progress(LOGGER, "training", 10, "steps") as progress:
        for seconds in (5.0, 9.0, 2.0, 1.0, 20.0):
            clock[0] += seconds
            progress.advance(2, "loss 1.5")
    assert [record.message for record in caplog.records] == [
        "training: 6 of 10 steps loss 1.5",
        "training: 10 of 10 steps loss 1.5",
    ]


def test_a_short_job_logs_nothing(caplog):
    caplog.set_level(logging.INFO, logger=LOGGER.name)
    with Progress(LOGGER, "training", 3, "steps") as progress:
        progress.advance(3)
    assert not caplog.records


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("level", [logging.INFO, logging.WARNING])
def test_a_terminal_gets_a_bar_unless_it_asked_for_quiet(monkeypatch, caplog, clock, level):
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    caplog.set_level(level, logger=LOGGER.name)
    with Progress(LOGGER, "training", 4, "steps") as progress:
        clock[0] += 60.0
        progress.advance(4)
    assert ("training" in screen.getvalue()) == (level == logging.INFO)
    assert not caplog.records
