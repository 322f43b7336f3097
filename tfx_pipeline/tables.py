"""Tables of metrics for people."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainer.evaluate import Scores

_COLUMNS = (
    ("recall", "recall\n@{k}"),
    ("relevance", "relevance\n@{k}"),
    ("topic_match", "topic match\n@{k}"),
    ("coverage", "coverage\n@{k}"),
    ("tail_share", "tail share\n@{k}"),
    ("recall_cold", "cold recall\n@{k}"),
)
_WIDTH_IN_A_FILE = 120


def console() -> Any:
    """Standard output for people; away from a terminal nothing is cut to a terminal's width."""
    from rich.console import Console

    return Console(highlight=False, width=None if sys.stdout.isatty() else _WIDTH_IN_A_FILE)


def metrics_table(rows: "Sequence[tuple[str, Scores]]", default: "Scores | None" = None) -> Any:
    """One row a model and dial setting, that of the ``default`` dial marked as such; a `rich` table."""
    from rich.table import Table

    k = rows[0][1].k
    table = Table(box=None, pad_edge=False)
    table.add_column("model", no_wrap=True)
    table.add_column("dial", justify="right", no_wrap=True)
    for _, title in _COLUMNS:
        table.add_column(title.format(k=k), justify="right")
    graded = any(scores.annotation_ndcg is not None for _, scores in rows)
    if graded:
        table.add_column("annotation\nNDCG", justify="right")
    for name, scores in rows:
        values = [scores.values.get(metric) for metric, _ in _COLUMNS]
        values += [scores.annotation_ndcg] if graded else []
        dial = f"{scores.relevance_weight:g}" + (" (default)" if scores is default else "")
        table.add_row(name, dial, *("–" if value is None else f"{value:.3f}" for value in values))
    return table


def metrics_notes(scores: "Scores") -> str:
    """What the numbers stand for, in a line or two."""
    graded = "" if scores.annotation_ndcg is None else f"; {annotation_judge()}"
    independent = None if scores.values["topic_match"] is None else scores.topic_match_independent
    return (
        f"{scores.num_triggers:,} triggers after the split, {scores.num_pairs:,} (trigger, target) pairs, and "
        f"{scores.num_cold_pairs:,} with an item unseen in training (cold recall); {topic_judge(independent)}; "
        f"{relevance_judge()}{graded}."
    )


def topic_judge(independent: bool | None) -> str:
    """Who judges topic match; None: nobody can."""
    if independent is None:
        return "there are no categories to judge topic match by"
    if independent:
        return "topic match is judged by categories that neither model nor teacher saw"
    return "topic match is not independent here: model or teacher sees the categories (features.categories)"


def relevance_judge() -> str:
    """Who judges relevance."""
    return "relevance is the cosine of the teacher that MTMH learns from"


def annotation_judge() -> str:
    """Who judges the NDCG of annotations."""
    return "annotation NDCG ranks the graded items of triggers that were held out from training"
