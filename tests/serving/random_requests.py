"""Requests of any kind, drawn at random, and what holds for every answer."""

import dataclasses
import functools
import re
from collections.abc import Sequence

import numpy as np

from serving.signatures import ANSWER, SIGNATURES

UNKNOWN = ["", "nobody", "é" * 5000, " i1", "I1", "\n", "\x00", "\u2028", "🎬🎬"]
STRANGE_FILTERS = ["", "nothing", "x" * 10_000]
WEIGHTS = [0.0, 1.0, np.nan, -3.0, 7.0, np.inf, -np.inf]
_FEW_K = 60


@dataclasses.dataclass(frozen=True)
class Asked:
    """A catalogue, and the k and the bound of k that were exported with it."""

    ids: Sequence[str]
    categories: Sequence[Sequence[str]]
    k: int
    max_k: int

    @functools.cached_property
    def row(self) -> dict[str, int]:
        return {item_id: row for row, item_id in enumerate(self.ids)}

    @functools.cached_property
    def has(self) -> dict[str, np.ndarray]:
        """Bool [N] by category."""
        names = sorted({name for names in self.categories for name in names})
        return {name: np.array([name in names for names in self.categories]) for name in names}

    @functools.cached_property
    def _pool(self) -> np.ndarray:
        odd = [item_id for item_id in self.ids if not re.fullmatch("[a-z]{0,3}[0-9]+", item_id)]
        return np.array([*self.ids, *[*UNKNOWN, *odd] * max(1, len(self.ids) // 100)], object)

    @functools.cached_property
    def _filters(self) -> np.ndarray:
        return np.array([*self.has, *STRANGE_FILTERS], object)

    def draw(self, rng, batch: int):
        """One request: ids, dial, k from below 0 to above the catalogue, exclusions, and filters or none."""
        many = rng.random() < 0.1
        most_k = len(self.ids) + 200 if many else _FEW_K
        weights = np.where(rng.random(batch) < 0.5, rng.random(batch), rng.choice(WEIGHTS, batch))
        k = rng.integers(-2, most_k, batch)
        asked = [_lists(rng, self._pool, 6, batch), weights, k, _lists(rng, self._pool, 200 if many else 12, batch)]
        if rng.random() < 0.5:
            asked += [_lists(rng, self._filters, 3, batch), _lists(rng, self._filters, 2, batch)]
        return asked

    def check(self, asked, answer) -> None:
        """Every promise that holds for any answer."""
        triggers, _, k, excluded, *filters = asked
        k = np.minimum(np.where(k < 0, self.k, k), self.max_k)
        size = max(int(k.max()), 0)
        for tensor in ANSWER:
            assert answer[tensor.name].shape == ((len(k), size) if len(tensor.shape) == 2 else (len(k),))
        for row in range(len(k)):
            banned = self._banned(triggers[row], excluded[row], [names[row] for names in filters])
            count = answer["count"][row]
            assert count == min(k[row], len(self.ids) - banned.sum())
            found = [self.row[item_id.decode()] for item_id in answer["item_id"][row][:count]]
            assert len(set(found)) == count
            assert not banned[found].any()
            assert set(answer["item_id"][row][count:]) <= {b""}
            scores = answer["score"][row]
            assert np.isfinite(scores).all()
            assert (np.diff(scores[:count]) <= 0).all()
            assert not scores[count:].any()
            known = any(item_id in self.row for item_id in triggers[row])
            sources = {b"engagement", b"relevance", b"both"} if known else {b"popular"}
            assert set(answer["source"][row][:count]) <= sources

    def _banned(self, triggers, excluded, filters) -> np.ndarray:
        banned = np.zeros(len(self.ids), bool)
        banned[[self.row[item_id] for item_id in (*triggers, *excluded) if item_id in self.row]] = True
        if filters:
            allow, deny = ({*names} - {""} for names in filters)
            if allow:
                banned |= ~np.any([self.has.get(name, np.zeros(len(self.ids), bool)) for name in allow], axis=0)
            for name in deny & self.has.keys():
                banned |= self.has[name]
        return banned


def _lists(rng, pool, most: int, batch: int) -> np.ndarray:
    """A matrix of names, some rows of it empty."""
    width = int(rng.integers(1, most + 1))
    cells = pool[rng.integers(0, len(pool), (batch, width))]
    cells[rng.random((batch, width)) < 0.3] = ""
    cells[rng.random(batch) < 0.1] = ""
    return cells


def named(asked) -> tuple[str, dict[str, np.ndarray]]:
    """Signature and inputs by name, as they travel."""
    signature = SIGNATURES["retrieve_filtered" if len(asked) > 4 else "retrieve"]
    kinds = {"string": object, "float32": np.float32, "int32": np.int32}
    return signature.name, {
        tensor.name: np.asarray(value, kinds[tensor.dtype])
        for tensor, value in zip(signature.inputs, asked, strict=True)
    }
