"""``mtmh run``: the TFX pipeline on one work directory, and what it leaves where the other verbs look for it."""

import contextlib
import dataclasses
import hashlib
import json
import logging
import os
import shutil
import signal
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, Final

from preprocessing.errors import UserError
from preprocessing.schema import MANIFEST
from tfx_pipeline.alone import alone
from tfx_pipeline.config import RunConfig
from tfx_pipeline.kept import forget, load_places, served_at
from tfx_pipeline.quiet import only_our_lines
from tfx_pipeline.steps import Inputs
from tfx_pipeline.verdict import Verdict
from tfx_pipeline.workdir import Workdir

logger = logging.getLogger("mtmh.run")

BEAM_ARGS: Final = (
    # By its own name: under its short one Beam first looks for a runner that it would have to download.
    "--runner=apache_beam.runners.portability.fn_api_runner.fn_runner.FnApiRunner",
    # Workers are this process: TFX need not be packaged for them, which takes seconds a step.
    "--sdk_container_image=local",
)
_GATES: Final = ("RetrievalEvaluator", "ServingValidator", "InfraValidator")


@dataclasses.dataclass(frozen=True)
class RunResult:
    """What a run has come to.

    Attributes:
      version: the pushed version's directory; None where a gate refused.
      new: whether this run has published it.
      instead: what is served in its place, where something was published after an earlier run had pushed it.
      verdicts: of the gates.
      metrics: the candidate's scores as JSON gives them.
      ran, kept: names of steps, of those that are told of.
      seconds: of the whole run.
    """

    version: Path | None
    new: bool
    instead: Path | None
    verdicts: tuple[Verdict, ...]
    metrics: list[dict[str, Any]]
    ran: tuple[str, ...]
    kept: tuple[str, ...]
    seconds: float

    def require_pushed(self) -> Path:
        """The pushed version.

        Raises:
          UserError: a gate refused.
        """
        for verdict in self.verdicts:
            verdict.require()
        if self.version is None:
            raise UserError("no version was pushed")
        return self.version


def run_pipeline(workdir: Workdir, config: RunConfig, inputs: Inputs, beam_args: Sequence[str] = ()) -> RunResult:
    """Runs the pipeline; what has not changed since an earlier run is kept.

    Raises:
      UserError: the input, the configuration or an option is at fault, the data are refused, or another run is using
        the work directory.
    """
    started = time.monotonic()
    workdir.require_plain_path()
    workdir.prepare()
    with alone(workdir.pipeline, "`mtmh run`"), _interruptible(), only_our_lines(workdir.pipeline / "libraries.log"):
        settings = _settings(workdir, config, inputs, beam_args)
        workdir.store_config(config)
        from preprocessing.backend import tf  # noqa: F401 before TFX imports TensorFlow in a flavour of its own
        from serving.push import versions
        from tfx_pipeline.local_runner import LocalRunner, Step
        from tfx_pipeline.pipeline import create_pipeline

        def shown(step: Step) -> None:
            _show(workdir, config.model.name, step)

        before = versions(workdir.serving)
        forget(workdir.pipeline)
        runner = LocalRunner(shown)
        runner.run(create_pipeline(settings))
        return _result(runner.steps, before, time.monotonic() - started)


def print_result(console: Any, result: RunResult, workdir: Workdir, config: RunConfig) -> None:
    """What a run has come to, on one screen."""
    from tfx_pipeline.tables import metrics_notes, metrics_table
    from trainer.evaluate import Scores
    from trainer.names import MTMH
    from trainer.typed import typed

    scores = [typed(Scores, document) for document in result.metrics]
    default = scores[-1] if config.model.name == MTMH else None
    console.print(metrics_table([(config.model.name, score) for score in scores], default))
    console.print(metrics_notes(scores[0]), style="dim")
    console.print(f"{len(result.ran)} steps ran, {len(result.kept)} were kept, in {result.seconds:.0f} s")
    console.print(f"training curves: tensorboard --logdir {workdir.root / 'training'}", soft_wrap=True)
    if result.instead is not None:
        console.print(
            f"kept, not served: {result.version} was pushed by an earlier run, and {result.instead} was published "
            f"after it; mtmh versions --workdir {workdir.root} lists them",
            soft_wrap=True,
        )
    elif result.version is not None:
        console.print(f"{'published' if result.new else 'served already:'} {result.version}", soft_wrap=True)
        console.print(f"serve it: mtmh serve --model-base-path {workdir.serving}", soft_wrap=True)


def _settings(workdir: Workdir, config: RunConfig, inputs: Inputs, beam_args: Sequence[str]) -> Any:
    """What this run is made of, and what it is compared with; mistakes are found before TFX is imported."""
    from preprocessing.pipeline import check_config, check_inputs
    from preprocessing.runner import parse_options
    from tfx_pipeline.blessed import find_baseline, lineage
    from tfx_pipeline.fingerprint import content_fingerprint

    check_config(config.preprocessing)
    parse_options(beam_args)
    check_inputs(config.preprocessing, inputs.interactions, inputs.items, inputs.annotations)
    tables = {"interactions": inputs.interactions, "items": inputs.items, "annotations": inputs.annotations}
    fingerprint = content_fingerprint(config.input, tables, _teacher_files(config))

    from tfx.orchestration.metadata import sqlite_metadata_connection_config

    from preprocessing.backend import tf  # noqa: F401 before TFX imports TensorFlow in a flavour of its own
    from tfx_pipeline.code_versions import CodeVersions
    from tfx_pipeline.components.parameters import paths_to_text, to_json
    from tfx_pipeline.pipeline import Settings

    logger.info("inputs %s, TFX is ready", fingerprint[:12])
    code = CodeVersions()
    data = _digest(fingerprint, to_json(config.preprocessing), code.preprocess)
    training = _digest(data, to_json(config.training), code.trainer)
    model = _digest(training, to_json(config.serving), code.index_builder)
    store = workdir.blessed.absolute()
    served = lineage(workdir.serving)
    return Settings(
        config=config,
        root=str(workdir.pipeline.absolute()),
        interactions=paths_to_text(inputs.interactions),
        items=paths_to_text(inputs.items),
        annotations=paths_to_text(inputs.annotations),
        fingerprint=fingerprint,
        data_baseline=str(find_baseline(store, "data", data, served)),
        model_baseline=str(find_baseline(store, "model", model, served)),
        destination=str(workdir.serving.absolute()),
        store=str(store),
        data_identity=data,
        model_identity=model,
        training_identity=training,
        base=str(find_baseline(store, "training", training, served)),
        beam_args=(*BEAM_ARGS, *beam_args),
        metadata=sqlite_metadata_connection_config(str(workdir.pipeline.absolute() / "metadata.sqlite")),
    )


def _teacher_files(config: RunConfig) -> list[str]:
    if config.teacher.kind != "onnx" or not config.teacher.path:
        return []
    return sorted(str(path) for path in Path(config.teacher.path).glob("*") if path.is_file())


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _show(workdir: Workdir, model: str, step: Any) -> None:
    """Puts a step's results where the other verbs look for them."""
    from tfx_pipeline.artifacts import CHECKPOINTS, LOGS, METRICS, MODEL

    outputs = {key: Path(artifact.uri) for key, artifact in step.outputs.items()}
    if step.node == "Preprocess":
        if _place(workdir.examples, MANIFEST, {"": outputs["examples"]}):
            workdir.inputs.unlink(missing_ok=True)
    elif step.node == "Trainer":
        parts = {MODEL: outputs["model"] / MODEL}
        parts |= {name: outputs["model_run"] / name for name in (LOGS, CHECKPOINTS)}
        with _at_rest(workdir.training(model)) as at_rest:
            if at_rest:
                _place(workdir.training(model), f"{MODEL}/model.json", parts)
            else:
                message = "a training is at work in %s, which stays as it is: the run's own model is in %s"
                logger.warning(message, workdir.training(model), outputs["model"])
    elif step.node == "RetrievalEvaluator":
        target = workdir.metrics(model)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        shutil.copy2(outputs["evaluation"] / METRICS, target)
        logs = workdir.training(model) / LOGS / "evaluation"
        with _at_rest(workdir.training(model)) as at_rest:
            if at_rest:
                shutil.rmtree(logs, ignore_errors=True)
                shutil.copytree(outputs["evaluation"] / LOGS / "evaluation", logs)


@contextlib.contextmanager
def _at_rest(directory: Path) -> Iterator[bool]:
    """Whether no training is at work in a directory; within the block none begins there."""
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(alone(directory, "training"))
        except UserError:
            yield False
        else:
            yield True


def _place(target: Path, marker: str, parts: dict[str, Path]) -> bool:
    """Makes a directory of hard links to artifacts, in one step; whether it was another one before.

    Args:
      target: the directory.
      marker: a file in it that tells whether it is this one already.
      parts: directories by their names below the target, "" for the target itself.
    """
    from tfx_pipeline.components.files import link_tree

    first = marker.partition("/")[0]
    source = parts[""] / marker if "" in parts else parts[first] / marker.partition("/")[2]
    with contextlib.suppress(FileNotFoundError):
        if (target / marker).samefile(source):
            return False
    staging = target.with_name(f".{target.name}.{uuid.uuid4().hex}.link")
    for old in target.parent.glob(f".{target.name}.*.link"):
        shutil.rmtree(old, ignore_errors=True)
    for name, part in parts.items():
        if part.is_dir():
            link_tree(part, staging / name)
    if target.exists():
        retired = target.with_name(f".{target.name}.{uuid.uuid4().hex}.link")
        os.rename(target, retired)
        os.rename(staging, target)
        shutil.rmtree(retired, ignore_errors=True)
    else:
        os.rename(staging, target)
    return True


def _result(steps: Sequence[Any], before: Sequence[int], seconds: float) -> RunResult:
    from tfx_pipeline.artifacts import METRICS
    from tfx_pipeline.components.blessing import verdict_of

    by_node = {step.node: step for step in steps}
    version, instead = _pushed(Path(by_node["Pusher"].outputs["pushed_model"].uri))
    evaluation = Path(by_node["RetrievalEvaluator"].outputs["evaluation"].uri)
    return RunResult(
        version=version,
        new=version is not None and int(version.name) not in before,
        instead=instead,
        verdicts=tuple(verdict_of(gate, by_node[gate].outputs["blessing"]) for gate in _GATES if gate in by_node),
        metrics=json.loads((evaluation / METRICS).read_text(encoding="utf-8")),
        ran=tuple(step.node for step in steps if step.ran and not step.silent),
        kept=tuple(step.node for step in steps if not step.ran and not step.silent),
        seconds=seconds,
    )


def _pushed(artifact: Path) -> tuple[Path | None, Path | None]:
    """The version of what was pushed, and what is served in its place."""
    for place in load_places(artifact)[:1]:
        served = served_at(place.base)
        if served and served.manifest and served.manifest.digest == place.digest:
            return Path(served.path), None
        return Path(place.base) / str(place.version), Path(served.path) if served else None
    return None, None


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Ctrl-C stays Ctrl-C: a library that takes it for a fault of its own raises something else."""
    interrupted = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal interrupted
        interrupted = True
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield
    except Exception:
        if interrupted:
            raise KeyboardInterrupt from sys.exc_info()[1]
        raise
    finally:
        signal.signal(signal.SIGINT, before)
