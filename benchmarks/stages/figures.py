"""What a stage measures, and how: ours and the other in turn, in one run, as medians."""

import dataclasses
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any


@dataclasses.dataclass(frozen=True)
class Figure:
    """One row of the table.

    Attributes:
      stage: what is measured.
      against: the peer or floor.
      unit: of both figures.
      ours, other: medians.
      ratio: what the bar is about; of ours and the other unless the stage says otherwise.
      bar: the bar in words; empty for a figure that has none.
      met: whether the bar is met; None without one.
      note: sizes, and what has to be known to read it.
    """

    stage: str
    against: str
    unit: str
    ours: float
    other: float | None
    ratio: float
    bar: str = ""
    met: bool | None = None
    note: str = ""


def in_turn(works: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median wall seconds of each work; they take turns, so that a busy moment meets all of them."""
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(repeats):
        for name, work in works.items():
            started = time.perf_counter()
            work()
            seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(values) for name, values in seconds.items()}


@dataclasses.dataclass(frozen=True)
class Process:
    """A process that has ended: wall and processor seconds, peak memory in MiB, and what it printed."""

    seconds: float
    cpu: float
    peak_mib: float
    output: str


def run(command: Sequence[str], *, expect: int | None = 0, environment: Mapping[str, str] | None = None) -> Process:
    """Runs a command to its end.

    Raises:
      RuntimeError: it ends with another code than ``expect``; None takes any.
    """
    started = time.perf_counter()
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **(environment or {})},
    ) as process:
        assert process.stdout is not None  # noqa: S101 it is a pipe
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - started
    if expect is not None and process.returncode != expect:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}: {output[-2000:]}")
    return Process(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, output)


def python(*arguments: str, **options: Any) -> Process:
    """`run` of this very Python."""
    return run([sys.executable, *arguments], **options)


def median(values: Sequence[float]) -> float:
    """The median."""
    return statistics.median(values)


def as_json(figures: Sequence[Figure]) -> str:
    """Figures for another process."""
    return json.dumps([dataclasses.asdict(figure) for figure in figures])
