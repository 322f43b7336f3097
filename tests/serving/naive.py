"""Retrieval as the design defines it, in numpy and without an index; and catalogues to try it on."""

import dataclasses
import functools
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from preprocessing.backend import tf
from serving.config import IndexConfig
from serving.flavours import SCANN
from serving.index import plan_index
from serving.retriever import RetrievalDefaults, Retriever
from serving.signatures import ANSWER, RETRIEVE, RETRIEVE_FILTERED, SIGNATURES
from trainer.model import ItemVectors
from trainer.names import QUOTA

DEFAULTS = RetrievalDefaults(k=5, relevance_weight=0.3, max_k=60, trigger_decay=0.9)
CLOSE = 2e-6
"""Scores nearer than this may change places."""


def unit(rng, number, dimension):
    vectors = rng.normal(size=(number, dimension))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def random_vectors(number, dimension=8, seed=0):
    rng = np.random.default_rng(seed)
    return ItemVectors(*(unit(rng, number, dimension) for _ in range(3)))


def clustered(number, dimension=16, seed=3):
    """Both heads see topics, one of them with noise."""
    rng = np.random.default_rng(seed)
    topics = unit(rng, max(4, number // 50), dimension)[rng.integers(0, max(4, number // 50), number)]

    def view():
        vectors = topics + 0.3 * unit(rng, number, dimension)
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)

    return ItemVectors(view(), view(), view())


@dataclasses.dataclass(frozen=True)
class Row:
    """One request."""

    triggers: Sequence[str]
    weight: float = float("nan")
    k: int = -1
    exclude: Sequence[str] = ("",)
    allow: Sequence[str] = ()
    deny: Sequence[str] = ()

    def passes(self, categories) -> bool:
        """Whether an item of these categories is admitted."""
        allow, deny = set(self.allow) - {""}, set(self.deny) - {""}
        return (not allow or bool(allow & set(categories))) and not deny & set(categories)


def without_scan(search, query):
    """In place of `Search._by_scan`: the index alone, whatever it finds."""
    return search._rank(query, search._by_both_indexes(query, 60))


class Shelf:
    """A catalogue, its `Retriever`, and the naive answer beside it."""

    def __init__(
        self,
        directory: Path,
        ids,
        vectors,
        counts=None,
        kind="exact",
        defaults=DEFAULTS,
        categories=None,
        flavour=SCANN,
        config=None,
    ):
        self.categories = categories or [()] * len(ids)
        self.ids, self.vectors, self.defaults = list(ids), vectors, defaults
        self.row = {item_id: row for row, item_id in enumerate(self.ids)}
        number = len(self.ids)
        self.counts = np.arange(number, 0, -1) if counts is None else np.asarray(counts)
        directory.mkdir(parents=True, exist_ok=True)
        self.plan = plan_index(number, config or IndexConfig(kind=kind), flavour)
        self.retriever = Retriever(
            self.ids, vectors, self.counts, self.plan, defaults, directory / "ids", self.categories
        )

    @functools.cached_property
    def _retrieve(self):
        return self._traced(RETRIEVE, self.retriever.retrieve)

    @functools.cached_property
    def _retrieve_filtered(self):
        return self._traced(RETRIEVE_FILTERED, self.retriever.retrieve_filtered)

    def _traced(self, signature, body):
        specs = {each.name: tf.TensorSpec(each.shape, each.dtype) for each in SIGNATURES[signature].inputs}
        return tf.function(body, autograph=False).get_concrete_function(**specs)

    def save(self, version: Path) -> None:
        """Writes both ways to ask as a SavedModel."""
        module = tf.Module()
        module.retriever = self.retriever
        functions = {RETRIEVE: self._retrieve, RETRIEVE_FILTERED: self._retrieve_filtered}
        tf.saved_model.save(module, str(version), signatures=functions)

    def ask(self, rows: Sequence[Row], lead: bool = True, filtered: bool = False):
        """A batch as the client sends it: "" in column 0, and padded by it."""

        def matrix(lists):
            lists = [["", *each] if lead else list(each) for each in lists]
            width = max([len(each) for each in lists], default=0)
            cells = [[*each, *[""] * (width - len(each))] for each in lists]
            return tf.constant(cells, tf.string, shape=[len(lists), width])

        return self.ask_tensors(
            matrix([row.triggers for row in rows]),
            [row.weight for row in rows],
            [row.k for row in rows],
            matrix([row.exclude for row in rows]),
            *((matrix([row.allow for row in rows]), matrix([row.deny for row in rows])) if filtered else ()),
        )

    def ask_tensors(self, item_id, weight, k, exclude, allow=None, deny=None):
        filters = {}
        if allow is not None:
            filters = {
                "allow_category": tf.convert_to_tensor(allow, tf.string),
                "deny_category": tf.convert_to_tensor(deny, tf.string),
            }
        answer = (self._retrieve_filtered if filters else self._retrieve)(
            item_id=tf.convert_to_tensor(item_id, tf.string),
            relevance_weight=tf.constant(weight, tf.float32),
            k=tf.constant(k, tf.int32),
            exclude_id=tf.convert_to_tensor(exclude, tf.string),
            **filters,
        )
        return {name: value.numpy() for name, value in answer.items()}

    def expected(self, row: Row):
        """Settled k, banned rows, and engagement, relevance and blend scores [N]; None of them without a trigger."""
        k = min(self.defaults.k if row.k < 0 else row.k, self.defaults.max_k)
        weight = self.defaults.relevance_weight if np.isnan(row.weight) else min(max(row.weight, 0.0), 1.0)
        triggers = [self.row[item_id] for item_id in row.triggers if item_id in self.row]
        banned = {*triggers, *(self.row[item_id] for item_id in row.exclude if item_id in self.row)}
        banned |= {item for item, categories in enumerate(self.categories) if not row.passes(categories)}
        if not triggers:
            return k, weight, banned, None
        share = self.defaults.trigger_decay ** np.arange(len(triggers), dtype=np.float64)
        share /= share.sum()
        engagement = self.vectors.engagement_candidate @ (share @ self.vectors.engagement_trigger[triggers])
        relevance = self.vectors.relevance @ (share @ self.vectors.relevance[triggers])
        return k, weight, banned, (engagement, relevance, (1 - weight) * engagement + weight * relevance)

    def check(self, rows: Sequence[Row], answer, complete: bool = True) -> list[float]:
        """Compares a batch's answer with the naive one; ``complete``: the best items, not only good ones.

        Returns:
          The share of the naive best that each row holds.
        """
        size = max([self.expected(row)[0] for row in rows], default=0)
        assert set(answer) == {tensor.name for tensor in ANSWER}
        for tensor in ANSWER:
            assert answer[tensor.name].shape == ((len(rows), size) if len(tensor.shape) == 2 else (len(rows),))
            kind = "O" if tensor.dtype == "string" else tensor.dtype
            assert answer[tensor.name].dtype == np.dtype(kind)
        return [
            self._check_row(row, {name: value[at] for name, value in answer.items()}, complete)
            for at, row in enumerate(rows)
        ]

    def _check_row(self, row: Row, answer, complete) -> float:
        k, weight, banned, scores = self.expected(row)
        count = answer["count"]
        assert count == min(k, len(self.ids) - len(banned))
        assert set(answer["item_id"][count:]) | set(answer["source"][count:]) <= {b""}
        for name in ("score", "engagement_score", "relevance_score"):
            assert not answer[name][count:].any()
            assert np.isfinite(answer[name]).all()
        found = [self.row[item_id.decode()] for item_id in answer["item_id"][:count]]
        assert len(set(found)) == count
        assert not banned & set(found)
        assert (np.diff(answer["score"][:count]) <= 0).all()
        allowed = np.array([item for item in range(len(self.ids)) if item not in banned], dtype=int)
        if scores is None:
            order = allowed[np.argsort(-self.counts[allowed], kind="stable")][:k]
            assert found == order.tolist()
            assert set(answer["source"][:count]) <= {b"popular"}
            np.testing.assert_allclose(answer["score"][:count], self.counts[order] / self.counts.sum(), rtol=1e-6)
            assert not answer["engagement_score"].any()
            assert not answer["relevance_score"].any()
            return 1.0
        engagement, relevance, blend = scores
        for name, expected in (("score", blend), ("engagement_score", engagement), ("relevance_score", relevance)):
            np.testing.assert_allclose(answer[name][:count], expected[found], atol=CLOSE)
        assert set(answer["source"][:count]) <= {b"engagement", b"relevance", b"both"}
        if complete:
            self._check_sources(found, answer["source"], (engagement, relevance), weight, allowed, k)
        if not count:
            return 1.0
        if self.defaults.merge == QUOTA:
            slots = relevance_slots(weight, k, engagement, relevance)
            if complete:
                check_quota(found, allowed, k, slots, engagement, relevance)
            own, other = quota_floors(allowed, k, slots, engagement, relevance)
            return float(np.mean((engagement[found] >= own - CLOSE) | (relevance[found] >= other - CLOSE)))
        best = np.sort(blend[allowed])[::-1][:k]
        if complete:
            np.testing.assert_allclose(answer["score"][:count], best, atol=CLOSE)
        return float(np.mean(blend[found] >= best[-1] - CLOSE))

    def _check_sources(self, found, sources, heads, weight, allowed, k):
        margins = []
        for scores, vectors in zip(heads, (self.vectors.engagement_trigger, self.vectors.relevance), strict=True):
            ordered = np.sort(scores[allowed])[::-1]
            floor = -np.inf if len(ordered) <= k else ordered[k - 1]
            margins.append(scores - floor if vectors.any() else np.full(len(scores), -np.inf))
        share = (1 - weight) * heads[0] - weight * heads[1]
        for item, source in zip(found, sources, strict=False):
            by_engagement, by_relevance = margins[0][item] >= 0, margins[1][item] >= 0
            if min(abs(margins[0][item]), abs(margins[1][item])) < CLOSE and len(allowed) > k:
                # The last of a head's own top-k: its score is the floor itself, or a tie with it.
                by_engagement |= abs(margins[0][item]) < CLOSE
                by_relevance |= abs(margins[1][item]) < CLOSE
            if by_engagement == by_relevance and not by_engagement and abs(share[item]) < CLOSE:
                continue
            single = share[item] >= 0 if by_engagement == by_relevance else by_engagement
            name = b"both" if by_engagement and by_relevance else b"engagement" if single else b"relevance"
            assert source == name, (item, source, name)


def relevance_slots(weight, k, engagement, relevance):
    """Answers of the relevance head; a head all of whose scores are 0 has no vector."""
    if not relevance.any():
        return 0
    return k if not engagement.any() else min(k, math.floor(weight * k + 0.5005))


def quota_floors(allowed, k, slots, engagement, relevance):
    """What an item's score needs by engagement, or by relevance, to be an answer; +inf for a part without a slot."""
    first = allowed[np.argsort(-engagement[allowed], kind="stable")][: k - slots]
    rest = np.setdiff1d(allowed, first)
    second = rest[np.argsort(-relevance[rest], kind="stable")][:slots]
    return engagement[first].min(initial=np.inf), relevance[second].min(initial=np.inf)


def check_quota(found, allowed, k, slots, engagement, relevance):
    """Whether the answers are the quota's, whichever of several close items takes the last place of a part."""
    if len(allowed) <= k:
        return  # all of them
    found, left = np.array(found), np.setdiff1d(allowed, found)
    floor, _ = quota_floors(allowed, k, slots, engagement, relevance)
    assert (engagement[left] <= floor + CLOSE).all()
    sure, close = found[engagement[found] > floor + CLOSE], found[np.abs(engagement[found] - floor) <= CLOSE]
    places = k - slots - len(sure)
    assert 0 <= places <= len(close)
    # Those that the relevance head ranks lowest: if any choice of the last places is the quota's, this one is.
    first = np.concatenate([sure, close[np.argsort(relevance[close])][:places]])
    second = np.setdiff1d(found, first)
    assert len(second) == slots
    assert relevance[left].max() <= relevance[second].min(initial=np.inf) + CLOSE


def batched(requests):
    """Merges requests, a dictionary of arrays each, by TF Serving's rules with ``pad_variable_length_inputs``.

    Every tensor is padded with its own first element to the widest of the batch, then all are joined along the first
    dimension.
    """
    merged = {}
    for name in requests[0]:
        tensors = [np.asarray(request[name]) for request in requests]
        if tensors[0].ndim == 2:
            width = max(tensor.shape[1] for tensor in tensors)
            tensors = [
                np.concatenate(
                    [tensor, np.full((len(tensor), width - tensor.shape[1]), tensor.flat[0], tensor.dtype)], axis=1
                )
                for tensor in tensors
            ]
        merged[name] = np.concatenate(tensors)
    return merged
