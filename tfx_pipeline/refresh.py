"""``mtmh refresh-index``: today's catalogue with the weights that are served, through the gates of the pipeline.

In this order: what the catalogue is like, index recall, retrieval (on the evaluation's triggers, beside the model as it
is served, of what both catalogues hold), and the candidate in a server of its own. Any of them refuses, and then what
is served stays.
"""

import dataclasses
import json
import logging
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from preprocessing.errors import UserError
from preprocessing.manifest import load_manifest, manifest_digest
from preprocessing.schema import MANIFEST
from tfx_pipeline import blessed
from tfx_pipeline.config import RunConfig
from tfx_pipeline.kept import served_at
from tfx_pipeline.verdict import Verdict
from tfx_pipeline.workdir import Workdir

if TYPE_CHECKING:
    from preprocessing.config import PreprocessingConfig
    from serving.push import Pushed
    from serving.refresh import Refreshed
    from trainer.snapshot import Snapshot

logger = logging.getLogger("mtmh.refresh")

DEAD_LETTERS: Final = "refresh"
"""Below the work directory: rows of the catalogue that could not be used."""


@dataclasses.dataclass(frozen=True)
class Served:
    """The weights that are served, and what they were trained on.

    Attributes:
      model: their directory.
      examples: what they were trained on.
      record: what is kept of their push, see `tfx_pipeline.blessed`; None where there is nothing.
    """

    model: Path
    examples: Path
    record: Path | None

    def snapshot(self) -> "Snapshot | None":
        """How they answer with the catalogue that they are served with."""
        from trainer.snapshot import load_snapshot

        directory = self.record / blessed.SNAPSHOT if self.record else None
        return load_snapshot(directory) if directory and directory.is_dir() else None


Gate = Callable[["Refreshed", Served, RunConfig], Verdict]


def refresh_step(workdir: Workdir, config: RunConfig, items: Sequence[str]) -> "Pushed":
    """Builds and pushes a version for a catalogue, with the weights that are served.

    Args:
      workdir: of the run that pushed them.
      config: of that run; its gates are those of the refresh.
      items: files or globs of the whole catalogue of today.

    Raises:
      UserError: there is nothing to refresh, the catalogue is at fault, or a gate refuses.
    """
    from preprocessing.new_catalogue import read_new_catalogue
    from preprocessing.read import read_items
    from serving.export import publish
    from serving.local_shelf import staged
    from serving.refresh import CatalogueChange, build_refreshed

    served = find_served(workdir, config)
    trained_on = read_items(str(served.examples))
    directory = str(workdir.root / DEAD_LETTERS)
    table = read_new_catalogue(_preprocessing(served.examples, config), items, trained_on, directory)
    change = CatalogueChange.between(trained_on, table)
    logger.info("catalogue: %d items known, %d new, %d gone", change.kept, change.new, change.gone)
    change.check(config.refresh)
    with staged(workdir.serving) as staging:
        refreshed = build_refreshed(
            served.examples, served.model, table, staging / "version", workdir.serving.name, config.serving
        )
        for gate in GATES:
            verdict = gate(refreshed, served, config)
            logger.info("%s", verdict.summary())
            verdict.require()
        if (stock := refreshed.built.stock) is not None:
            publish(stock.directory, workdir.serving, stock.plan.flavour, config.push)
        pushed = publish(refreshed.built.directory, workdir.serving, refreshed.built.plan.flavour, config.push)
    if pushed.new:
        _record(workdir, config, served, refreshed, pushed)
    return pushed


def find_served(workdir: Workdir, config: RunConfig) -> Served:
    """The weights of the version that is served, through rollbacks: of its record, or those of the last training.

    Raises:
      UserError: nothing is served, its weights are not there any more, or what they were trained on is gone.
    """
    from serving.push import origin
    from trainer.artefact import load_description, weights_digest

    version, current = origin(workdir.serving), served_at(str(workdir.serving))
    if version is None or current is None:
        raise UserError(f"{workdir.serving} holds no version to refresh; `mtmh run` publishes one")
    weights = _weights_of(Path(current.path))
    if weights is None:
        raise UserError(
            f"{current.path}, which is served, does not tell of which weights it was built, as what this code exports "
            "does: `mtmh export` publishes one that does, `mtmh run` with the new catalogue trains and pushes"
        )
    # What `mtmh export` has published since a run has no record of its own, but may have that run's weights.
    record = next(
        (each for each in blessed.with_models(workdir.blessed, first=version) if _has(each / blessed.MODEL, weights)),
        None,
    )
    model = record / blessed.MODEL if record else workdir.model(config.model.name)
    digest = load_description(model).examples_digest
    if weights_digest(model) != weights:
        raise UserError(
            f"the weights in {model} are not those of {current.path}, which is served: `mtmh export` publishes these, "
            "`mtmh run` with the new catalogue trains and pushes"
        )
    places = [workdir.examples, *sorted(workdir.pipeline.glob("Preprocess/examples/*"), reverse=True)]
    for place in places:
        if (place / MANIFEST).is_file() and manifest_digest(place) == digest:
            return Served(model, place, record)
    raise UserError(
        f"the examples that version {version} was trained on are not in {workdir.root} any more, and without them new "
        "items cannot be encoded as it has learnt to; `mtmh run` with the new catalogue trains and pushes"
    )


def _has(model: Path, weights: str) -> bool:
    from trainer.artefact import weights_digest

    try:
        return weights_digest(model) == weights
    except UserError:
        return False


def _weights_of(version: Path) -> str | None:
    """The digest of the weights that a version was built of; None where it names none."""
    from serving.version_manifest import MODEL_CARD, WEIGHTS

    try:
        card = json.loads((version / MODEL_CARD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return str(card[WEIGHTS]) if WEIGHTS in card else None


def index_gate(refreshed: "Refreshed", served: Served, config: RunConfig) -> Verdict:
    """Whether the index finds what exact search does."""
    from serving.index_gate import check_index_floor

    built = refreshed.built
    try:
        for each in built.flavours:
            check_index_floor(each.index_recall, each.plan, config.serving)
    except UserError as error:
        return Verdict("IndexGate", "the index", (str(error),), {})
    least = (value for each in built.flavours for value in each.index_recall.values())
    return Verdict("IndexGate", "the index", (), {"least_recall": min(least)})


def retrieval_gate(refreshed: "Refreshed", served: Served, config: RunConfig) -> Verdict:
    """Whether it retrieves as the RetrievalEvaluator asks, on triggers and targets that the new catalogue holds."""
    import numpy as np

    from preprocessing.read import read_items, read_triggers
    from trainer.artefact import load_description
    from trainer.evaluate import make_judge, sample_triggers, sees_categories
    from trainer.gate import Evidence, Gate
    from trainer.other_catalogue import triggers_in
    from trainer.snapshot import recall_measure

    items = refreshed.items
    place = {item_id: row for row, item_id in enumerate(items.ids)}
    trained_ids = read_items(str(served.examples)).ids
    rows = np.array([place.get(item_id, -1) for item_id in trained_ids], dtype=np.int64)
    triggers = triggers_in(read_triggers(str(served.examples)), rows)
    if config.evaluate.max_triggers is not None:
        triggers = sample_triggers(triggers, config.evaluate.max_triggers, config.seed)
    features, manifest = load_description(served.model).features, load_manifest(str(served.examples))
    judge = make_judge(items, triggers, categories_seen=sees_categories(features, manifest))
    measure = recall_measure(config.evaluate.k, manifest.config)
    evidence = Evidence(judge, items.ids, refreshed.built.index_recall, None, measure)
    before = served.snapshot()
    candidate = _snapshot(refreshed, config, before)
    checks = Gate(evidence, config.evaluate, config.gate, config.seed).judge(candidate, before, config.index.min_recall)
    reasons = tuple(check.reason() for check in checks if not check.passed)
    return Verdict("RetrievalGate", "the catalogue", reasons, {"triggers": len(triggers)})


def serving_gate(refreshed: "Refreshed", served: Served, config: RunConfig) -> Verdict:
    """Whether it serves: the ServingValidator's own check."""
    from serving.export import stock_place
    from serving.flavours import SCANN, STOCK
    from serving.validator import Expected, validate_all

    vectors = refreshed.vectors
    expected = Expected(
        refreshed.items.ids,
        vectors.engagement_trigger,
        vectors.engagement_candidate,
        vectors.relevance,
        refreshed.built.relevance_weight,
    )
    version = refreshed.built.directory
    found = validate_all({SCANN: version, STOCK: stock_place(version)}, expected, config.validator, config.seed)
    return Verdict("ServingValidator", "the version", found.reasons, found.figures)


GATES: Final[tuple[Gate, ...]] = (index_gate, retrieval_gate, serving_gate)


def _preprocessing(examples: Path, config: RunConfig) -> "PreprocessingConfig":
    """How the examples were made; how files are read is the run's own to say."""
    from preprocessing.config import PreprocessingConfig
    from trainer.typed import typed

    try:
        made: PreprocessingConfig = typed(PreprocessingConfig, load_manifest(str(examples)).config)
    except (TypeError, KeyError, ValueError) as error:
        raise UserError(
            f"{examples} was made by another version of mtmh ({error}); run `mtmh run` with the new catalogue"
        ) from None
    return dataclasses.replace(made, input=config.input)


def _snapshot(refreshed: "Refreshed", config: RunConfig, before: "Snapshot | None") -> "Snapshot":
    """How the weights answer now; what they recalled when they were blessed is what it was."""
    from trainer.snapshot import Snapshot

    return Snapshot(
        ids=refreshed.items.ids,
        vectors=refreshed.vectors,
        interaction_count=refreshed.items.interaction_count,
        has_dial=refreshed.has_dial,
        relevance_weight=refreshed.built.relevance_weight,
        merge=config.retrieval.merge,
        recall=before.recall if before else None,
        measure=before.measure if before else None,
    )


def _record(workdir: Workdir, config: RunConfig, served: Served, refreshed: "Refreshed", pushed: "Pushed") -> None:
    """Keeps under the new number what was kept of the weights, with how they answer now."""
    if served.record is None:
        return
    before = served.snapshot()
    identity = blessed.identity_of(served.record)
    with tempfile.TemporaryDirectory(prefix="mtmh-") as scratch:
        snapshot = _snapshot(refreshed, config, before)
        snapshot.save(Path(scratch))
        names = (blessed.MODEL, f"{blessed.STATISTICS}/items", f"{blessed.STATISTICS}/pairs", MANIFEST)
        parts = {name: served.record / name for name in names if (served.record / name).exists()}
        parts[blessed.SNAPSHOT] = Path(scratch)
        lineage = blessed.lineage(workdir.serving)
        blessed.record(workdir.blessed, pushed.version, identity, parts, served=lineage, digest=pushed.digest)
