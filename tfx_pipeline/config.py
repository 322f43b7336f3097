"""The one configuration of a run: read from YAML and ``--set``, checked, written back, documented.

``python -m tfx_pipeline.config --update README.md`` renews the reference between the README's markers.
"""

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import yaml

from preprocessing import config as preprocessing
from preprocessing.errors import UserError
from preprocessing.options import option, section
from serving import config as serving
from tfx_pipeline import typed_yaml
from tfx_pipeline.kubeflow_config import KubeflowConfig
from trainer import config as training

MAX_BYTES: Final = 1 << 20
"""Largest configuration file that is read."""
README_MARKERS: Final = ("<!-- config -->", "<!-- /config -->")

_Part = TypeVar("_Part")


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """All options of a run; each package takes its own part."""

    seed: int = option(0, "of everything that is drawn at random", minimum=0, maximum=2**31 - 1)
    input: preprocessing.InputConfig = section(preprocessing.InputConfig, "what is read")
    pairs: preprocessing.PairsConfig = section(preprocessing.PairsConfig, "mining of co-engagement pairs")
    split: preprocessing.SplitConfig = section(preprocessing.SplitConfig, "the global time split")
    annotations: preprocessing.AnnotationsConfig = section(preprocessing.AnnotationsConfig, "graded annotations")
    teacher: preprocessing.TeacherConfig = section(preprocessing.TeacherConfig, "the semantic encoder")
    features: preprocessing.FeaturesConfig = section(preprocessing.FeaturesConfig, "what the item encoder sees")
    output: preprocessing.OutputConfig = section(preprocessing.OutputConfig, "TFRecords")
    model: training.ModelConfig = section(training.ModelConfig, "the model")
    loss: training.LossConfig = section(training.LossConfig, "the joint loss")
    trainer: training.TrainerConfig = section(training.TrainerConfig, "the training")
    evaluate: training.EvaluateConfig = section(training.EvaluateConfig, "the evaluation")
    retrieval: serving.RetrievalConfig = section(serving.RetrievalConfig, "exported defaults of retrieval")
    index: serving.IndexConfig = section(serving.IndexConfig, "the ScaNN index")
    export: serving.ExportConfig = section(serving.ExportConfig, "the SavedModel")
    data_gate: preprocessing.DataGateConfig = section(
        preprocessing.DataGateConfig, "`mtmh run`: what data have to be like to be trained on"
    )
    gate: training.GateConfig = section(training.GateConfig, "`mtmh run`: what a model has to reach to be pushed")
    validator: serving.ValidatorConfig = section(
        serving.ValidatorConfig, "`mtmh run`: what a version has to show in a server to be pushed"
    )

    push: serving.PushConfig = section(serving.PushConfig, "published versions")
    refresh: serving.RefreshConfig = section(
        serving.RefreshConfig, "`mtmh refresh-index`: a new catalogue for the weights that there are"
    )
    kubeflow: KubeflowConfig = section(KubeflowConfig, "the pipeline on Kubeflow")

    @property
    def preprocessing(self) -> preprocessing.PreprocessingConfig:
        """The part of the preprocessing."""
        return self._part(preprocessing.PreprocessingConfig)

    @property
    def training(self) -> training.TrainingConfig:
        """The part of the trainer and the evaluation."""
        return self._part(training.TrainingConfig)

    @property
    def serving(self) -> serving.ServingConfig:
        """The part of the export."""
        return self._part(serving.ServingConfig)

    def _part(self, kind: type[_Part]) -> _Part:
        fields = dataclasses.fields(cast(Any, kind))
        return kind(**{field.name: getattr(self, field.name) for field in fields})


def load_config(path: str | None, overrides: Sequence[str] = ()) -> RunConfig:
    """The configuration of a YAML file, with single options replaced.

    Args:
      path: the file, or None for defaults.
      overrides: ``section.key=value`` with the value in YAML; of several for one key the last one holds.

    Raises:
      UserError: the file cannot be read, or a key or a value is not what the options admit.
    """
    values = {} if path is None else typed_yaml.read(RunConfig, _read(path), path)
    values.update(typed_yaml.read_override(RunConfig, override, "--set") for override in overrides)
    config: RunConfig = typed_yaml.build(RunConfig, values)
    _check_together(config)
    return config


def _read(path: str) -> str:
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UserError(f"cannot read the configuration {path}: {error.strerror}") from error
    if len(data) > MAX_BYTES:
        raise UserError(f"{path} is larger than {MAX_BYTES:,} bytes: expected a configuration, a short YAML file")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text at byte {error.start}: expected a YAML file") from error


def _check_together(config: RunConfig) -> None:
    """What single options admit, but not together."""
    if config.retrieval.k > config.retrieval.max_k:
        raise UserError(
            f"`retrieval.k` is {config.retrieval.k}, above `retrieval.max_k` = {config.retrieval.max_k}: raise max_k"
        )
    if not any(dataclasses.astuple(config.features)):
        raise UserError("all of `features` are false, so the encoder sees nothing: leave one of them on")
    if config.teacher.kind == "onnx" and not config.teacher.path:
        raise UserError(
            "`teacher.kind` is onnx: name the directory with model.onnx and tokenizer.json as `teacher.path`"
        )


def dump_config(config: RunConfig) -> str:
    """The whole configuration as YAML, defaults too; `load_config` reads it back equal."""
    tree = dataclasses.asdict(config, dict_factory=lambda pairs: {name: _plain(value) for name, value in pairs})
    return yaml.safe_dump(tree, sort_keys=False, width=10_000)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def reference() -> str:
    """Markdown tables of all options: name, default, allowed values, meaning."""
    lines: list[str] = []
    current = None
    for key in typed_yaml.keys_of(RunConfig).values():
        head = key.name.split(".")[0] if "." in key.name else ""
        if head != current:
            title = f"**`{head}`**: {RunConfig.__dataclass_fields__[head].metadata['doc']}" if head else "**Top level**"
            lines += ["", title, "", "| option | default | allowed | meaning |", "|---|---|---|---|"]
            current = head
        cells = [f"`{key.name}`", f"`{_shown(key.default)}`", key.expected, key.doc]
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(lines[1:]) + "\n"


def _shown(value: Any) -> str:
    return yaml.safe_dump(_plain(value), default_flow_style=True, width=10_000).removesuffix("...\n").strip()


def update_reference(text: str) -> str:
    """A README's text with the reference between its markers renewed.

    Raises:
      UserError: the markers are missing.
    """
    start, end = README_MARKERS
    before, found_start, rest = text.partition(start)
    _, found_end, after = rest.partition(end)
    if not (found_start and found_end):
        raise UserError(f"no {start} followed by {end}: put both where the reference belongs")
    return f"{before}{start}\n{reference()}{end}{after}"


def main() -> None:
    """Prints the reference, or renews it in a README."""
    parser = argparse.ArgumentParser(prog="python -m tfx_pipeline.config", description=main.__doc__)
    parser.add_argument("--update", metavar="README", type=Path, help="renew the reference between this file's markers")
    path: Path | None = parser.parse_args().update
    if path is None:
        print(reference(), end="")
        return
    try:
        path.write_text(update_reference(path.read_text(encoding="utf-8")), encoding="utf-8")
    except (OSError, UserError) as error:
        parser.error(f"{path}: {error}")


if __name__ == "__main__":
    main()
