"""Scores a candidate and judges it, for the RetrievalEvaluator."""

import dataclasses
import json
import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from preprocessing.manifest import load_manifest
from tfx_pipeline.artifacts import LOGS, METRICS
from tfx_pipeline.blessed import SNAPSHOT
from tfx_pipeline.scoring import Scored, score_model
from tfx_pipeline.steps import write_metrics
from tfx_pipeline.verdict import Verdict

if TYPE_CHECKING:
    from serving.config import ServingConfig
    from trainer.config import EvaluateConfig, GateConfig
    from trainer.gate import Check
    from trainer.snapshot import Snapshot

RUN: Final = "evaluation"
"""TensorBoard run of what a gate has measured."""

logger = logging.getLogger("mtmh.evaluate")


def evaluate_candidate(
    *,
    examples: Path,
    trained: Path,
    version: Path,
    baseline: Path,
    output: Path,
    snapshot: Path,
    evaluation: "EvaluateConfig",
    gate: "GateConfig",
    serving: "ServingConfig",
) -> Verdict:
    """Scores a trained model, judges it beside the last blessed one, and keeps all that was found.

    Args:
      examples: the preprocessing's output.
      trained: the model's weights and description.
      version: the SavedModel that was built of them.
      baseline: directory of the last blessed model, see `tfx_pipeline.blessed`; empty where there is none.
      output: where ``metrics.json``, ``verdict.json`` and ``logs`` go.
      snapshot: where the candidate's snapshot goes.
      evaluation: how models are scored.
      gate: what they have to reach.
      serving: how they are served.

    Raises:
      UserError: an artefact is missing or damaged.
    """
    from trainer import metrics
    from trainer.gate import Evidence, Gate
    from trainer.snapshot import Snapshot, load_snapshot, recall_measure

    scored = score_model(examples, trained, evaluation, serving)
    write_metrics(output / METRICS, scored.scores)
    measure = recall_measure(evaluation.k, load_manifest(str(examples)).config)
    candidate = Snapshot(
        ids=scored.items.ids,
        vectors=scored.vectors,
        interaction_count=scored.items.interaction_count,
        has_dial=scored.has_dial,
        relevance_weight=scored.relevance_weight,
        merge=serving.retrieval.merge,
        recall=scored.scores[0].values[metrics.RECALL],
        measure=measure,
    )
    candidate.save(snapshot)
    blessed = load_snapshot(baseline / SNAPSHOT) if (baseline / SNAPSHOT).is_dir() else None
    evidence = Evidence(scored.judge, scored.items.ids, _index_recall(version), _validation_recall(scored), measure)
    checks = Gate(evidence, evaluation, gate, serving.seed).judge(candidate, blessed, serving.index.min_recall)
    verdict = _verdict(checks, blessed)
    verdict.save(output)
    _write_logs(output / LOGS / RUN, scored, checks)
    logger.info("%s", verdict.summary())
    return verdict


def _verdict(checks: "Sequence[Check]", blessed: "Snapshot | None") -> Verdict:
    failed = [check for check in checks if not check.passed]
    return Verdict(
        "RetrievalEvaluator",
        "the model",
        tuple(check.reason() for check in failed),
        {
            "checks": [dataclasses.asdict(check) for check in checks],
            "compared_with_a_blessed_model": blessed is not None,
        },
    )


def _index_recall(version: Path) -> Mapping[float, float]:
    """What the exporter has measured, from the version's card; of two flavours the lesser."""
    from serving.export import stock_place
    from serving.version_manifest import MODEL_CARD

    least: dict[float, float] = {}
    for place in (version, stock_place(version)):
        if not place.is_dir():
            continue
        card = json.loads((place / MODEL_CARD).read_text(encoding="utf-8"))
        for weight, value in card["index_recall"].items():
            least[float(weight)] = min(float(value), least.get(float(weight), 1.0))
    return least


def _validation_recall(scored: Scored) -> float | None:
    found = [point.recall for point in scored.description.dial if point.relevance_weight == 0.0]
    return found[0] if found else None


def _write_logs(directory: Path, scored: Scored, checks: "Sequence[Check]") -> None:
    """The same figures for TensorBoard, by the time of the evaluation."""
    from preprocessing.backend import tf
    from trainer.tensorboard import write_scalars

    found: dict[str, float | None] = {}
    for score in scored.scores:
        found |= {
            f"evaluation/dial_{score.relevance_weight:g}/{name}@{score.k}": value
            for name, value in score.values.items()
        }
    for check in checks:
        name = check.metric.rpartition(" ")[2]
        found[f"gate/{name}/{check.slice}/{check.option.rpartition('.')[2]}/dial_{check.relevance_weight:g}"] = (
            check.value
        )
    writer = tf.summary.create_file_writer(str(directory))
    write_scalars(writer, int(time.time()), found)
    writer.close()
