"""Profiles the input pipeline, the export and the index build, on the bundled cut of real data.

``python -m benchmarks.profiles [--interactions CSV --items CSV] [--vectors N] [--set section.key=value]...``

The input pipeline is traced by TensorFlow's profiler, within the steps of a training: how long a step waits for its
batch, beside what the step and the drawing of a batch take, in wall time. The export of a model and the build of an
index over N random vectors are profiled by cProfile: cumulative processor seconds, of all threads, of the functions
that are most of it.
"""

import argparse
import cProfile
import functools
import logging
import os
import pstats
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from benchmarks.cold import DATA
from tfx_pipeline.config import RunConfig, load_config
from tfx_pipeline.steps import Inputs, export_step, preprocess_step, train_step
from tfx_pipeline.workdir import Workdir

_STEPS: Final = 64
_DIMENSION: Final = 128
_ROWS: Final = 12
_STEP, _WAITS, _DRAWS = "train_function", "IteratorGetNextOp::DoCompute", "PrefetchProduce"
"""Events of a trace: the steps of one call, a step's wait for its batch, the drawing of a batch on its own thread."""


def main() -> None:
    """Prints three profiles."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.profiles", description=main.__doc__)
    parser.add_argument("--interactions", default=str(DATA / "interactions.csv.gz"))
    parser.add_argument("--items", default=str(DATA / "items.csv.gz"))
    parser.add_argument("--vectors", type=int, default=100_000, help="of the index")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="settings")
    arguments = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.disable(logging.INFO)
    config = load_config(None, ["trainer.epochs=1", "trainer.tensorboard=false", *arguments.settings])
    with tempfile.TemporaryDirectory() as directory:
        workdir = Workdir(Path(directory))
        workdir.prepare()
        preprocess_step(workdir, config, Inputs((arguments.interactions,), (arguments.items,)))
        milliseconds = input_pipeline(workdir.examples, config, Path(directory) / "trace")
        step, waits, draws = (milliseconds[event] for event in (_STEP, _WAITS, _DRAWS))
        print(f"input pipeline, {_STEPS} steps traced: {step:.1f} ms a step")
        print(f"  of which it waits for its batch {waits:.2f} ms")
        print(f"  a batch is drawn on a thread of its own in {draws:.1f} ms")
        train_step(workdir, config)
        export_step(workdir, config)  # libraries are loaded, and functions traced, by the first one
        show("export", profiled(functools.partial(export_step, workdir, config)))
    show(f"index of {arguments.vectors:,} x {_DIMENSION}", profiled(index_build(arguments.vectors)))


def input_pipeline(examples: Path, config: RunConfig, directory: Path) -> dict[str, float]:
    """Milliseconds a step of each kind of event, from a trace that is written below ``directory``."""
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    from benchmarks.stages.training import Ours
    from preprocessing.backend import tf
    from trainer.config import TRIGGERS

    ours = Ours(examples, config.training, 512, TRIGGERS)
    ours.fit(ours.batches, _STEPS)
    tf.profiler.experimental.start(str(directory))
    ours.fit(ours.batches, _STEPS)
    tf.profiler.experimental.stop()
    trace = xplane_pb2.XSpace()
    trace.ParseFromString(next(directory.rglob("*.xplane.pb")).read_bytes())
    total: Counter[str] = Counter()
    for plane in trace.planes:
        for line in plane.lines:
            for event in line.events:
                total[plane.event_metadata[event.metadata_id].name] += event.duration_ps
    return {name: total[name] / 1e9 / _STEPS for name in (_STEP, _WAITS, _DRAWS)}


def index_build(number: int) -> Callable[[], object]:
    """The build of a tree over vectors around centres, as in `benchmarks.stages.index_build`."""
    from benchmarks.stages.index_build import around_centres
    from serving.config import IndexConfig
    from serving.index import build_index, plan_index

    return functools.partial(build_index, plan_index(number, IndexConfig(kind="tree")), around_centres(number))


def profiled(work: Callable[[], object]) -> pstats.Stats:
    """A profile of one call, in processor seconds of the process."""
    profile = cProfile.Profile(time.process_time)
    profile.runcall(work)
    return pstats.Stats(profile)


def show(title: str, stats: pstats.Stats) -> None:
    """The functions of this repository and of ScaNN that take longest, what they call included."""
    entries: dict[Any, Any] = stats.stats  # type: ignore[attr-defined] # typeshed has no such attribute
    total = max(cumulative for _, _, _, cumulative, _ in entries.values())
    print(f"\n{title}: {total:.1f} processor seconds")
    rows = [
        (cumulative, own, f"{Path(file).parent.name}/{Path(file).name}", name)
        for (file, _, name), (_, _, own, cumulative, _) in entries.items()
        if any(package in file for package in ("/serving/", "/trainer/", "/preprocessing/", "/scann/"))
    ]
    for cumulative, own, file, name in sorted(rows, reverse=True)[:_ROWS]:
        print(f"  {cumulative:7.2f} s  own {own:6.2f} s  {file} {name}")


if __name__ == "__main__":
    main()
