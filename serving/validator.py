"""Whether a candidate version serves: loaded in a process of its own, asked real questions, its answers checked.

What TF Serving's own checks miss is what answers: a SavedModel that loads may still answer with phantom items, repeat
itself, have forgotten most of its triggers (and answer with what is popular), or embed items otherwise than the
trainer did.
"""

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from preprocessing.errors import UserError
from serving.candidate import NAME, CandidateError, CandidateServer, running
from serving.client import NEVER, Client
from serving.config import ValidatorConfig
from serving.results import Answer

_UNKNOWN: Final = "no such item \u2603"
_HEADS: Final = ("engagement_trigger", "engagement_candidate", "relevance")


@dataclasses.dataclass(frozen=True)
class Expected:
    """What the trainer knows of the candidate's catalogue.

    Attributes:
      ids: all N item ids.
      engagement_trigger, engagement_candidate, relevance: float32 [N, d], as the trainer embeds them.
      relevance_weight: the exported dial.
    """

    ids: Sequence[str]
    engagement_trigger: NDArray[np.float32]
    engagement_candidate: NDArray[np.float32]
    relevance: NDArray[np.float32]
    relevance_weight: float


@dataclasses.dataclass(frozen=True)
class Validation:
    """What came of it: reasons to refuse, a line each, and figures."""

    reasons: tuple[str, ...]
    figures: dict[str, Any]


def validate(version: Path, expected: Expected, config: ValidatorConfig, seed: int) -> Validation:
    """Serves a version and asks it.

    Args:
      version: the directory with ``saved_model.pb``.
      expected: what its answers are held against.
      config: bounds.
      seed: of the sample of triggers.

    Returns:
      The findings; a crash or a hang of the candidate is one of them.
    """
    figures: dict[str, Any] = {}
    try:
        with running(version, config.max_load_seconds) as server:
            figures["load_seconds"] = round(server.load_seconds, 3)
            reasons = examine(server, expected, config, seed, figures)
            figures["memory_mb"] = round(server.memory_mb(), 1)
    except CandidateError as error:
        return Validation((str(error),), figures)
    if figures["memory_mb"] > config.max_memory_mb:
        reasons.append(
            f"the server held {figures['memory_mb']:,.0f} MB, above validator.max_memory_mb {config.max_memory_mb:,.0f}"
        )
    return Validation(tuple(reasons), figures)


def examine(
    server: CandidateServer, expected: Expected, config: ValidatorConfig, seed: int, figures: dict[str, Any]
) -> list[str]:
    """Asks a running server.

    Args:
      server: of the candidate.
      expected: what its answers are held against.
      config: bounds.
      seed: of the sample of triggers.
      figures: what is measured is added here.

    Returns:
      Reasons to refuse.

    Raises:
      CandidateError: it crashes, hangs or refuses.
    """
    rows = np.sort(np.random.default_rng(seed).permutation(len(expected.ids))[: config.requests])
    try:
        with Client(server.address, NAME, config.request_seconds, retry=NEVER) as client:
            reasons = replay(client, expected, rows, config, figures)
            reasons += _agreement(client, expected, rows, config, figures)
            reasons += _odd_requests(client, expected)
    except UserError as error:
        why = f"{server.ending()} during the replay" if server.crashed() else f"failed a request: {error}"
        raise CandidateError(f"the server {why}") from error
    return reasons


def replay(
    client: Client,
    expected: Expected,
    rows: NDArray[np.int64],
    config: ValidatorConfig,
    figures: dict[str, Any],
) -> list[str]:
    """Known triggers, by their rows, at several settings of the dial: reasons to refuse."""
    known, faults, popular, seconds = frozenset(expected.ids), _Faults(), 0, []
    weights = sorted({0.0, expected.relevance_weight, 1.0})
    for weight in weights:
        for row in rows:
            trigger = expected.ids[row]
            started = time.monotonic()
            answer = client.retrieve([trigger], relevance_weight=weight)
            seconds.append(time.monotonic() - started)
            popular += answer.is_fallback
            faults.look_at(f"trigger {trigger!r} at dial {weight:g}", answer, trigger, known)
    requests = len(weights) * len(rows)
    p50, p99 = (1000.0 * float(value) for value in np.quantile(seconds, [0.5, 0.99]))
    figures |= {"requests": requests, "p50_ms": round(p50, 3), "p99_ms": round(p99, 3), "popular": popular}
    reasons = faults.reasons()
    if popular > config.max_popular_share * requests:
        reasons.append(
            f"{popular} of {requests} requests for known triggers were answered with popular items, more than "
            f"validator.max_popular_share {config.max_popular_share:g}"
        )
    if p99 > config.max_p99_ms:
        reasons.append(
            f"the 99th percentile of the latency is {p99:.1f} ms, above validator.max_p99_ms {config.max_p99_ms:g}"
        )
    return reasons


class _Faults:
    """Counts what is wrong with answers, and keeps the first case of each."""

    def __init__(self) -> None:
        self._count: dict[str, int] = {}
        self._first: dict[str, str] = {}

    def look_at(self, where: str, answer: Answer, trigger: str, known: frozenset[str]) -> None:
        """Checks one answer."""
        ids = [result.item_id for result in answer.results]
        scores = np.array([result.score for result in answer.results])
        self._note("hold items that are not in the catalogue", where, not known.issuperset(ids))
        self._note("repeat an item", where, len(set(ids)) < len(ids))
        self._note("hold the trigger itself", where, trigger in ids)
        self._note("are empty", where, not ids and len(known) > 1)
        self._note("have scores that are not finite", where, not bool(np.isfinite(scores).all()))
        self._note("are out of order", where, bool((np.diff(scores) > 1e-6).any()))

    def reasons(self) -> list[str]:
        """A line for each kind."""
        return [f"{count} answers {fault}, first for {self._first[fault]}" for fault, count in self._count.items()]

    def _note(self, fault: str, where: str, found: bool) -> None:
        if found:
            self._count[fault] = self._count.get(fault, 0) + 1
            self._first.setdefault(fault, where)


def _agreement(
    client: Client,
    expected: Expected,
    rows: NDArray[np.int64],
    config: ValidatorConfig,
    figures: dict[str, Any],
) -> list[str]:
    """Served embeddings against the trainer's."""
    served = client.embed([expected.ids[row] for row in rows])
    worst, reasons = 0.0, []
    for head in _HEADS:
        ours, theirs = getattr(expected, head)[rows], np.asarray(getattr(served, head))
        if ours.shape != theirs.shape:
            reasons.append(f"`embed` gives {head} the shape {theirs.shape}, the trainer {ours.shape}")
            continue
        worst = max(worst, float(np.abs(ours - theirs).max(initial=0.0)))
    figures["embedding_difference"] = worst
    if not worst <= config.embedding_tolerance:
        reasons.append(
            f"`embed` differs from the trainer's embeddings by {worst:.2g}, above validator.embedding_tolerance "
            f"{config.embedding_tolerance:g}"
        )
    return reasons


def _odd_requests(client: Client, expected: Expected) -> list[str]:
    """A trigger that nobody knows, one that is asked for by its words, more answers than there are items."""
    known, reasons = frozenset(expected.ids), []
    unknown = client.retrieve([_UNKNOWN])
    if not unknown.is_fallback or not unknown.results:
        reasons.append("an unknown trigger is not answered with popular items")
    all_of_it = client.retrieve([expected.ids[0]], k=len(expected.ids) + 10)
    titled = client.retrieve_by_content(title="something new")
    for what, answer in (("an unknown trigger", unknown), ("a title", titled), ("a large k", all_of_it)):
        if not known.issuperset(result.item_id for result in answer.results):
            reasons.append(f"the answer to {what} holds items that are not in the catalogue")
    return reasons
