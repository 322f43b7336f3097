"""What each metric sums up over trigger occasions, by user.

Every metric but coverage is a ratio of two sums over users. Kept apart by user, the sums are all that evaluation,
slices and bootstrap need to know of the retrieved lists.
"""

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from preprocessing.errors import UserError
from trainer import metrics, slices
from trainer.config import EvaluateConfig

if TYPE_CHECKING:
    from trainer.evaluate import Judge

SLICED: Final = (metrics.RECALL, metrics.RELEVANCE, metrics.TOPIC_MATCH)
"""Metrics that are also told by slice of the trigger."""

COLUMNS: Final = (
    *((name, slices.ALL) for name in metrics.METRICS if name != metrics.COVERAGE),
    *((name, part) for name in SLICED for part in slices.SLICES),
)
"""Metric and slice of each column of `UserSums`."""

_MOST_CLUSTERS: Final = 20_000
"""Where there are more users, several make one cluster: fewer and larger clusters are as valid, and bound memory."""

_Key = tuple[str, str]
_Fraction = tuple[NDArray[np.float64], NDArray[np.float64]]
"""What a metric adds up, and what it divides by."""


@dataclasses.dataclass(frozen=True)
class UserSums:
    """Numerators and denominators of the metrics of `COLUMNS`, by cluster of users: float64 [U, M] each."""

    numerator: NDArray[np.float64]
    denominator: NDArray[np.float64]


class Tally:
    """Sums up lists retrieved for the distinct triggers of an evaluation.

    Attributes:
      judge, config: what lists are judged by, K and the tail.
      trigger: int64 [T], the distinct triggers, ascending.
      num_users, num_clusters: users of the triggers, and U, the clusters that sums are kept for.
      num_pairs, num_cold_pairs: (trigger, target) pairs of all occasions: both seen in training, and the others.
      occasions, pairs: occasions by slice of their trigger, and pairs by slice.
      times: float64 [U, T] sparse, occasions of a cluster that have the trigger.
    """

    def __init__(self, judge: "Judge", config: EvaluateConfig) -> None:
        """Groups occasions and pairs.

        Raises:
          UserError: there is nothing to evaluate on.
        """
        if not len(judge.triggers.trigger):
            raise UserError(
                "no trigger of the evaluation period to score; lower split.quantile so that rows come after it"
            )
        self.judge, self.config = judge, config
        triggers, count = judge.triggers, judge.interaction_count
        self.trigger, row = np.unique(triggers.trigger, return_inverse=True)
        users, user = np.unique(triggers.user, return_inverse=True)
        self.num_users, self.num_clusters = len(users), min(len(users), _MOST_CLUSTERS)
        user = user % self.num_clusters
        item_slice = slices.item_slices(count)
        self._trigger_slice = item_slice[self.trigger]
        self.times = _added_up(user, row, np.ones(len(row)), (self.num_clusters, len(self.trigger)))

        occasion = np.repeat(np.arange(len(row)), np.diff(triggers.row_splits))
        distinct, pair = np.unique(row[occasion] * len(count) + triggers.target, return_inverse=True)
        self._pair_row, self._pair_target = np.divmod(distinct, len(count))
        self._pair_slice = self._trigger_slice[self._pair_row]
        self._pair_slice[count[self._pair_target] == 0] = _COLD
        shape = (self.num_clusters, len(distinct))
        self._pair_times = _added_up(user[occasion], pair, np.ones(len(pair)), shape)
        # NDCG is a mean over occasions: a pair counts by what is ideal for its occasion.
        warm = self._pair_slice[pair] != _COLD
        warm_targets = np.bincount(occasion[warm], minlength=len(row))
        share = 1.0 / metrics.ideal_gains(warm_targets, self.config.k)[occasion[warm]]
        self._pair_ndcg = _added_up(user[occasion[warm]], pair[warm], share, shape)
        some = (warm_targets > 0).astype(np.float64)
        self._ndcg_occasions = np.bincount(user, weights=some, minlength=self.num_clusters).astype(np.float64)

        self._tail = metrics.tail_items(count, config.tail_share).astype(np.float64)
        self._popular = (item_slice == slices.SLICES.index(slices.HEAD)).astype(np.float64)
        self._bits = metrics.self_information(count)
        self.num_pairs, self.num_cold_pairs = int(warm.sum()), int((~warm).sum())
        self.occasions = _by_slice(self._trigger_slice[row])
        self.pairs = _by_slice(self._pair_slice[pair])

    def sums(self, retrieved: NDArray[np.int32]) -> Iterator[UserSums]:
        """Sums of each of several sets of lists, such as those of a dial's settings.

        Args:
          retrieved: [W, T, K], item indexes in order, a list for each distinct trigger; negative pads.
        """
        relevance = metrics.relevance(self.trigger, retrieved, self.judge.content)
        topic_match = metrics.topic_match(self.trigger, retrieved, self.judge.categories)
        for setting, lists in enumerate(retrieved):
            found = self._of_lists(lists)
            found |= self._of_means(metrics.RELEVANCE, relevance[setting])
            found |= self._of_means(metrics.TOPIC_MATCH, topic_match[setting])
            found = _by_cluster(self.times, found) | self._of_pairs(lists)
            above, below = zip(*(found[column] for column in COLUMNS), strict=True)
            yield UserSums(np.stack(above, axis=1), np.stack(below, axis=1))

    def _of_lists(self, lists: NDArray[np.int32]) -> dict[_Key, _Fraction]:
        """What lists [T, K] add up whatever their trigger, [T] each."""
        real, item = lists >= 0, np.maximum(lists, 0)
        length = real.sum(axis=1).astype(np.float64)
        of_item = {metrics.TAIL_SHARE: self._tail, metrics.POPULAR_SHARE: self._popular, metrics.NOVELTY: self._bits}
        found: dict[_Key, _Fraction] = {
            (name, slices.ALL): (np.where(real, values[item], 0.0).sum(axis=1), length)
            for name, values in of_item.items()
        }
        diversity = metrics.diversity(lists, self.judge.content)
        found[metrics.DIVERSITY, slices.ALL] = _known(diversity)
        return found

    def _of_means(self, name: str, mean: NDArray[np.float64]) -> dict[_Key, _Fraction]:
        """What a mean by trigger, [T], NaN where it is not known, adds up: overall and by slice."""
        above, below = _known(mean)
        found: dict[_Key, _Fraction] = {(name, slices.ALL): (above, below)}
        for number, part in enumerate(slices.SLICES):
            inside = self._trigger_slice == number
            found[name, part] = above * inside, below * inside
        return found

    def _of_pairs(self, lists: NDArray[np.int32]) -> dict[_Key, _Fraction]:
        """What (trigger, target) pairs add up, by cluster: [U] each."""
        ranks = metrics.target_ranks(lists, self._pair_row, self._pair_target)
        hits = metrics.hits(ranks, self.config.k)
        warm = (self._pair_slice != _COLD).astype(np.float64)
        found: dict[_Key, _Fraction] = {
            (metrics.RECALL, slices.ALL): (hits * warm, warm),
            (metrics.MRR, slices.ALL): (metrics.reciprocal_ranks(ranks, self.config.k) * warm, warm),
        }
        for number, part in enumerate(slices.SLICES):
            inside = (self._pair_slice == number).astype(np.float64)
            found[metrics.RECALL, part] = hits * inside, inside
        found = _by_cluster(self._pair_times, found)
        found[metrics.RECALL_COLD, slices.ALL] = found[metrics.RECALL, slices.COLD]
        gains = np.asarray(self._pair_ndcg @ metrics.discounted_gains(ranks, self.config.k))
        found[metrics.NDCG, slices.ALL] = gains, self._ndcg_occasions
        return found


def ratios(numerator: NDArray[np.float64], denominator: NDArray[np.float64]) -> NDArray[np.float64]:
    """Metrics from sums of any shape; NaN where nothing was counted."""
    return np.divide(numerator, denominator, out=np.full(numerator.shape, np.nan), where=denominator > 0)


def coverage(retrieved: NDArray[np.int32], num_items: int) -> float:
    """Share of the catalogue that is in any of the lists [T, K]; negative pads.

    >>> coverage(np.array([[0, 2], [2, -1]], np.int32), 4)
    0.5
    """
    return len(np.unique(retrieved[retrieved >= 0])) / num_items


_COLD: Final = slices.SLICES.index(slices.COLD)


def _known(mean: NDArray[np.float64]) -> _Fraction:
    return np.nan_to_num(mean), (~np.isnan(mean)).astype(np.float64)


def _by_cluster(times: scipy.sparse.csr_matrix, found: dict[_Key, _Fraction]) -> dict[_Key, _Fraction]:
    """Values by row, [n] each, added up by cluster of users, [U] each, by how often it has the row."""
    table = times @ np.stack([column for fraction in found.values() for column in fraction], axis=1)
    return {key: (table[:, 2 * place], table[:, 2 * place + 1]) for place, key in enumerate(found)}


def _added_up(
    row: NDArray[np.int64], column: NDArray[np.int64], values: NDArray[np.float64], shape: tuple[int, int]
) -> scipy.sparse.csr_matrix:
    return scipy.sparse.csr_matrix((values, (row, column)), shape=shape)


def _by_slice(of_row: NDArray[np.int8]) -> dict[str, int]:
    counts = np.bincount(of_row, minlength=len(slices.SLICES))
    return {name: int(count) for name, count in zip(slices.SLICES, counts, strict=True)}
