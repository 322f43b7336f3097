"""``mtmh report``: collects what a work directory holds for one page to look at."""

import dataclasses
import hashlib
import importlib.metadata
import json
import logging
import platform
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from preprocessing.errors import UserError
from preprocessing.files import write_text
from preprocessing.schema import MANIFEST, Manifest
from tfx_pipeline.config import RunConfig, dump_config
from tfx_pipeline.report_curves import History, read_histories
from tfx_pipeline.report_data import DataSummary, summarise
from tfx_pipeline.report_neighbours import Neighbours, collect_neighbours
from tfx_pipeline.sheets import Sheet
from tfx_pipeline.workdir import Workdir
from trainer.names import MTMH, ONE_HEAD

if TYPE_CHECKING:
    from trainer.comparison import Comparison

logger = logging.getLogger("mtmh.report")

PAGE: Final = "report.html"
_PROGRAMS: Final = ("mtmh", "tensorflow", "scann")
_T = TypeVar("_T")


@dataclasses.dataclass(frozen=True)
class Index:
    """What the published index finds of the exact best.

    Attributes:
      version: the newest published one.
      recall: index recall by setting of the dial.
      floor: below which this configuration publishes nothing.
      facts: of the index and the exported defaults.
    """

    version: str
    recall: tuple[tuple[float, float], ...]
    floor: float
    facts: tuple[tuple[str, str], ...]


@dataclasses.dataclass(frozen=True)
class Report:
    """All that the page shows. Where a part is None, ``missing`` says by its name how to make it.

    Attributes:
      title: of the page.
      data: the examples.
      histories: trainings; empty where there are none.
      comparison: of the models.
      neighbours: answers side by side.
      index: of the newest published version.
      configuration: resolved, as YAML.
      models, hashes: tables of what was trained, and of what identifies data, models and programs.
      warnings: what does not fit together.
      missing: by name of a part.
    """

    title: str
    data: DataSummary
    histories: tuple[History, ...]
    comparison: "Comparison | None"
    neighbours: Neighbours
    index: Index | None
    configuration: str
    models: Sheet
    hashes: Sheet
    warnings: tuple[str, ...]
    missing: dict[str, str]


def report_step(workdir: Workdir, config: RunConfig, output: Path | None = None) -> Path:
    """Writes the page, by default to ``report.html`` in the work directory; the same work directory, the same bytes.

    Raises:
      UserError: there are no examples, or the page cannot be written.
    """
    from tfx_pipeline.report_page import render

    report = collect(workdir, config)
    path = output or workdir.root / PAGE
    try:
        write_text(str(path), render(report))
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}; name another file with --output") from error
    return path


def collect(workdir: Workdir, config: RunConfig) -> Report:
    """Reads everything that is there.

    Raises:
      UserError: there are no examples that can be read.
    """
    if not (workdir.examples / MANIFEST).exists():
        raise UserError(f"{workdir.root} holds no examples; run `mtmh preprocess --workdir {workdir.root}` first")

    from preprocessing.manifest import load_manifest
    from preprocessing.read import read_items, read_triggers
    from tfx_pipeline.comparison_files import read_comparison

    manifest = load_manifest(str(workdir.examples))
    items, triggers = read_items(str(workdir.examples)), read_triggers(str(workdir.examples))
    missing: dict[str, str] = {}
    histories = tuple(read_histories(workdir))
    if not histories:
        missing["histories"] = "nothing has been trained here; run `mtmh train`, or `mtmh compare` for all models"
    logger.info("asking the models for neighbours")
    models, warnings = _models(workdir, config)
    comparison = _or_missing(missing, "comparison", lambda: read_comparison(workdir.comparison))
    if comparison is not None:
        warnings += _stale(workdir, comparison)
        if not comparison.gains:
            names = ",".join(dict.fromkeys([*(model.name for model in comparison.models), ONE_HEAD, MTMH]))
            missing["headline"] = f"it needs MTMH and a one-head model; run `mtmh compare --models {names}`"
    neighbours = collect_neighbours(workdir, config, items, triggers)
    index = _or_missing(missing, "index", lambda: read_index(workdir, config))
    return Report(
        title=f"MTMH report: {workdir.root.absolute().name}",
        data=summarise(manifest, items, triggers),
        histories=histories,
        comparison=comparison,
        neighbours=dataclasses.replace(
            neighbours, notes=tuple(_with_workdir(note, workdir) for note in neighbours.notes)
        ),
        index=index,
        configuration=dump_config(config),
        models=models,
        hashes=_hashes(workdir, manifest),
        warnings=tuple(_with_workdir(warning, workdir) for warning in warnings),
        missing={name: _with_workdir(text, workdir) for name, text in missing.items()},
    )


def _with_workdir(hint: str, workdir: Workdir) -> str:
    """A text whose commands, between backticks, name the work directory, so that they can be run as they stand."""
    return re.sub(r"`mtmh [^`]+", lambda found: f"{found.group()} --workdir {shlex.quote(str(workdir.root))}", hint)


def _stale(workdir: Workdir, comparison: "Comparison") -> list[str]:
    """What a comparison was made of that is not what is here now."""
    from preprocessing.manifest import manifest_digest
    from trainer.base import model_digest

    if comparison.examples_digest != manifest_digest(workdir.examples):
        return ["the comparison was made on other examples; run `mtmh compare` again"]
    found = []
    for name, digest in comparison.trained.items():
        try:
            if model_digest(workdir.model(name)) == digest:
                continue
        except OSError:
            pass
        found.append(f"the comparison is of another training of {name} than is here; run `mtmh compare` again")
    return found


def _or_missing(missing: dict[str, str], name: str, make: Callable[[], _T]) -> _T | None:
    """A part of the report; what keeps it from being made goes to ``missing``, and is no fault of the report."""
    try:
        return make()
    except UserError as error:
        missing[name] = str(error)
        return None


def read_index(workdir: Workdir, config: RunConfig) -> Index:
    """The model card of the newest published version.

    Raises:
      UserError: nothing is published, or the card cannot be read.
    """
    from serving.push import versions
    from serving.version_manifest import MODEL_CARD

    published = versions(workdir.serving) if workdir.serving.is_dir() else []
    if not published:
        trained = workdir.model(config.model.name).exists()
        first = "" if trained else "`mtmh train` and then "
        raise UserError(f"no version is published; run {first}`mtmh export`")
    path = workdir.serving / str(published[-1]) / MODEL_CARD
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
        recall = tuple(sorted((float(weight), float(value)) for weight, value in card["index_recall"].items()))
        facts = {"items": f"{int(card['items']):,}"}
        facts |= {f"index: {_spoken(name)}": _plain(value) for name, value in card["index"].items()}
        facts |= {f"by default: {_spoken(name)}": _plain(value) for name, value in card["defaults"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} cannot be read ({error}); run `mtmh export` again") from None
    return Index(str(published[-1]), recall, config.index.min_recall, tuple(facts.items()))


def _spoken(name: str) -> str:
    return name.replace("_", " ")


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else "–" if value is None else str(value)


def _models(workdir: Workdir, config: RunConfig) -> tuple[Sheet, list[str]]:
    """The trained models with what they were trained on and how, and what is to be said of them."""
    from preprocessing.manifest import manifest_digest
    from tfx_pipeline.compare import with_model
    from trainer.artefact import load_description
    from trainer.trained import what_differs

    digest = manifest_digest(workdir.examples)
    rows, warnings = [], []
    for directory in sorted((workdir.root / "training").glob("*/model")):
        name = directory.parent.name
        try:
            description = load_description(directory)
            differs = what_differs(directory, with_model(config, name).training, digest)
        except UserError as error:
            warnings.append(str(error))
            continue
        if description.examples_digest != digest:
            again = "`mtmh train`" if name == config.model.name else "`mtmh compare`"
            warnings.append(f"{name} was trained on other examples; run {again} again")
        shape = f"{description.model.dimension}"
        rows.append((name, differs or "as configured below", str(description.epochs), shape, str(description.seed)))
    return Sheet("trained models", ("model", "options", "epochs", "dimension", "seed"), tuple(rows), (), 2), warnings


def _hashes(workdir: Workdir, manifest: Manifest) -> Sheet:
    """SHA-256 of examples, catalogue and weights, and the versions of the programs."""
    from trainer.artefact import WEIGHTS, load_description

    lines = "".join(f"{file.sha256}  {file.path}\n" for file in manifest.files)
    rows = [
        (f"examples/{MANIFEST}", _sha256(workdir.examples / MANIFEST)),
        (f"the {len(manifest.files)} files that it lists", hashlib.sha256(lines.encode("utf-8")).hexdigest()),
    ]
    for directory in sorted((workdir.root / "training").glob("*/model")):
        name = directory.parent.name
        try:
            rows.append((f"{name}: catalogue", load_description(directory).catalogue_digest))
        except UserError:
            continue
        rows += [(f"{name}: {path.name}", _sha256(path)) for path in sorted(directory.glob(f"{WEIGHTS}.data*"))]
    rows += [(program, _version(program)) for program in _PROGRAMS]
    rows.append(("Python", platform.python_version()))
    notes = (
        "the files' digest is that of the lines `sha256sum` prints for them in the manifest's order",
        "catalogue: ids and teacher's vectors that a model's weights belong to",
    )
    return Sheet("SHA-256, and versions", ("what", "SHA-256 or version"), tuple(rows), notes, 2)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        for chunk in iter(lambda: stream.read(1 << 20), b""):
            digest.update(chunk)
    return digest.hexdigest()


def _version(program: str) -> str:
    try:
        return importlib.metadata.version(program)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
