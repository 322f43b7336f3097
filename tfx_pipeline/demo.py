"""``mtmh demo``: real data, both models, a server, and answers a person can judge."""

import contextlib
import dataclasses
import logging
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from preprocessing.errors import UserError
from serving.own_process import mtmh_command
from tfx_pipeline import tables
from tfx_pipeline.config import RunConfig, load_config
from tfx_pipeline.steps import Inputs, evaluate_step, export_step, preprocess_step, train_step
from tfx_pipeline.workdir import Workdir

if TYPE_CHECKING:
    from serving.client import Client
    from trainer.evaluate import Scores

logger = logging.getLogger("mtmh.demo")

_MOVIELENS_OPTIONS: Final = ("input.min_value=4",)
_MOVIELENS_TRIGGERS: Final = ("1", "260", "858")
"""Toy Story, Star Wars, The Godfather."""
_ANSWERS: Final = 8
_START_SECONDS: Final = 120.0


@dataclasses.dataclass(frozen=True)
class DemoRequest:
    """What is demonstrated: the user's tables, or MovieLens where there are none."""

    inputs: Inputs | None
    workdir: Path
    triggers: tuple[str, ...]
    config: str | None
    overrides: tuple[str, ...]
    beam_args: tuple[str, ...]


def demo(request: DemoRequest) -> None:
    """Preprocesses, trains MTMH and a co-engagement baseline, scores, exports, serves and asks.

    Raises:
      UserError: the data cannot be had or used, or the server does not come up.
    """
    console = tables.console()
    started = time.monotonic()
    inputs, options, triggers = _data(request, console)
    config = load_config(request.config, [*options, *request.overrides])
    workdir = Workdir(request.workdir)
    workdir.prepare()

    _title(console, "1/5 preprocess")
    preprocess_step(workdir, config, inputs, request.beam_args, resume=True)
    _title(console, "2/5 train one head on co-engagement, the usual I2I model")
    baseline_config = _with_model(config, "one_head")
    train_step(workdir, baseline_config)
    _title(console, "3/5 train MTMH, two heads on the joint loss")
    config = _with_model(config, "mtmh")
    train_step(workdir, config)
    _title(console, "4/5 evaluate both and export MTMH")
    baseline = evaluate_step(workdir, baseline_config)
    scores = evaluate_step(workdir, config)
    exported = export_step(workdir, config)
    _title(console, "5/5 serve, and ask over gRPC")
    with serving(workdir.serving) as address:
        answers = _ask(address, triggers or _most_engaged(workdir), exported.relevance_weight)

    rows = [("one head", score) for score in baseline] + [("MTMH", score) for score in scores]
    _title(console, "what the models retrieve from the time after the split")
    console.print(tables.metrics_table(rows, default=scores[-1]))
    console.print(tables.metrics_notes(scores[0]), style="dim")
    _print_gain(console, baseline[0], scores)
    for answer in answers:
        console.print()
        console.print(answer)
    _print_next_steps(console, workdir, request, time.monotonic() - started)


def _title(console: Any, text: str) -> None:
    console.print()
    console.rule(f"[bold]{text}", align="left", style="dim")


def _with_model(config: RunConfig, name: str) -> RunConfig:
    return dataclasses.replace(config, model=dataclasses.replace(config.model, name=name))


def _data(request: DemoRequest, console: Any) -> tuple[Inputs, tuple[str, ...], tuple[str, ...]]:
    if request.inputs:
        return request.inputs, (), request.triggers
    from tfx_pipeline.demo_data import default_cache, fetch_movielens

    data = fetch_movielens(default_cache())
    console.print(data.notice, style="dim", markup=False, soft_wrap=True)
    inputs = Inputs((str(data.interactions),), (str(data.items),))
    return inputs, _MOVIELENS_OPTIONS, request.triggers or _MOVIELENS_TRIGGERS


def _most_engaged(workdir: Workdir) -> tuple[str, ...]:
    """The three items with most interactions, for data whose well-known items nobody has named."""
    from preprocessing.read import read_items

    items = read_items(str(workdir.examples))
    order = sorted(range(len(items.ids)), key=lambda row: (-items.interaction_count[row], row))
    return tuple(items.ids[row] for row in order[:3])


# --- serving ------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def serving(base: Path) -> Iterator[str]:
    """Runs ``mtmh serve`` in a process of its own on free ports; gives the gRPC address once it is ready."""
    command = mtmh_command("serve", "--model-base-path", str(base), "--port", "0", "--rest-port", "0")
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield _wait_until_ready(process)
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_ready(process: "subprocess.Popen[str]") -> str:
    """Reads the server's ready line for its gRPC address."""
    timer = threading.Timer(_START_SECONDS, process.kill)
    timer.start()
    try:
        for line in process.stdout or ():
            found = re.match(r"ready: .*gRPC (\S+:\d+)", line)
            if found:
                return found.group(1)
    finally:
        timer.cancel()
    raise UserError("the server did not become ready; its lines above say why")


def _ask(address: str, triggers: Sequence[str], default_weight: float) -> list[Any]:
    """For each trigger a table of what the dial's ends and its default answer."""
    from serving.client import Client

    with Client(address, timeout=30.0) as client:
        return [_side_by_side(client, trigger, default_weight) for trigger in triggers]


def _side_by_side(client: "Client", trigger: str, default_weight: float) -> Any:
    from rich.table import Table
    from rich.text import Text

    weights = sorted({0.0, default_weight, 1.0})
    answers = [client.retrieve([trigger], k=_ANSWERS, relevance_weight=weight).results for weight in weights]
    ids = sorted({result.item_id for answer in answers for result in answer} | {trigger})
    names = dict(zip(ids, client.describe(ids), strict=True))

    def name(item_id: str) -> str:
        return names[item_id].title or item_id

    asked = names[trigger]
    title = f"after {name(trigger)} [{trigger}]" + (f"  {', '.join(asked.categories)}" if asked.categories else "")
    table = Table(box=None, pad_edge=False, title=Text(title, style="bold"), title_justify="left")
    labels = {0.0: "dial 0 (engagement)", 1.0: "dial 1 (relevance)"}
    for weight in weights:
        table.add_column(labels.get(weight, f"dial {weight:g} (default)"), max_width=40, no_wrap=True)
    for rank in range(max(len(answer) for answer in answers)):
        table.add_row(*(Text(name(answer[rank].item_id)) if rank < len(answer) else Text("") for answer in answers))
    return table


# --- closing words ------------------------------------------------------------------------------------------------


def _print_gain(console: Any, baseline: "Scores", scores: "Sequence[Scores]") -> None:
    for score in scores:
        parts = []
        for metric, label in (("recall", "recall"), ("relevance", "relevance"), ("topic_match", "topic match")):
            before, after = baseline.values[metric], score.values[metric]
            if before and after is not None:
                parts.append(f"{label} {100.0 * (after / before - 1.0):+.1f} %")
        console.print(f"MTMH at dial {score.relevance_weight:g} against one head: {', '.join(parts)}")


def _print_next_steps(console: Any, workdir: Workdir, request: DemoRequest, seconds: float) -> None:
    item = (request.triggers or _MOVIELENS_TRIGGERS)[0] if not request.inputs else "ID"
    command = Path(sys.argv[0]).parent
    prefix = f"{os.path.relpath(command)}/" if (command / "mtmh").exists() else ""
    lines = (
        ("the training curves", f"{prefix}tensorboard --logdir {workdir.root / 'training'}"),
        ("serve the model", f"{prefix}mtmh serve --model-base-path {workdir.serving}"),
        ("ask it, in another shell", f"{prefix}mtmh query --item {item} --relevance-weight 0.3"),
        ("ask for an unknown item", f"{prefix}mtmh query --title 'a title'"),
        ("your own data", f"{prefix}mtmh demo --interactions log.csv --items items.csv --workdir mine"),
    )
    _title(console, f"done in {seconds:.0f} s; where to look next")
    width = max(len(label) for label, _ in lines)
    for label, text in lines:
        console.print(f"{label:<{width}}  {text}", markup=False, soft_wrap=True)
