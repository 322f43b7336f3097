"""The index's parameters, and ScaNN behind TFRS's index interface: exact or tree, without phantom items."""

import dataclasses
import math
import uuid
from typing import Any, Final

from preprocessing.backend import tf, tfrs
from serving.config import IndexConfig
from serving.flavours import SCANN, STOCK

TREE_FROM: Final = 20_000
"""Catalogue size from which ``index.kind=auto`` builds a tree."""

LEAST_TREE: Final = 16
"""ScaNN's quantiser makes 16 clusters, and ends the process where there are fewer items."""

_REORDER: Final = 600
_MOST_REORDER: Final = 4800
_LEAST_SEARCHED: Final = 10
_SHARE_SEARCHED: Final = {SCANN: 5, STOCK: 20}
"""A search starts with one partition in so many; plain TensorFlow scores each candidate whole, so with fewer."""


@dataclasses.dataclass(frozen=True)
class IndexPlan:
    """The parameters of an index, with nothing left to a rule.

    Attributes:
      kind: ``exact`` or ``tree``.
      leaves, leaves_to_search: partitions of the tree, and how many of them a query visits; 0 for ``exact``.
      reorder: candidates of each head that the tree rescores with exact vectors; 0 for ``exact``.
      flavour: `serving.flavours.SCANN` or `STOCK`.
    """

    kind: str
    leaves: int
    leaves_to_search: int
    reorder: int
    flavour: str = SCANN


def plan_index(num_items: int, config: IndexConfig, flavour: str = SCANN) -> IndexPlan:
    """Settles the parameters of an index by the size of the catalogue, where the configuration leaves them open.

    Below `LEAST_TREE` items it is exact even where the configuration says ``tree``.
    """
    kind = config.kind if config.kind != "auto" else ("tree" if num_items >= TREE_FROM else "exact")
    if kind == "exact" or num_items < LEAST_TREE:
        return IndexPlan("exact", 0, 0, 0, flavour)
    leaves = min(config.leaves or max(1, round(math.sqrt(num_items))), num_items)
    share = _SHARE_SEARCHED[flavour]
    searched = min(config.leaves_to_search or max(_LEAST_SEARCHED, math.ceil(leaves / share)), leaves)
    return IndexPlan("tree", leaves, searched, min(config.reorder or _REORDER, num_items), flavour)


def build_index(plan: IndexPlan, candidates: Any) -> Any:
    """An index of the plan's flavour over ``candidates``, float32 [N, d].

    It is called with queries, float32 [B, d], and k, and gives scores and rows, see `ScannIndex.call`.
    """
    if plan.flavour == SCANN:
        return ScannIndex(plan).index(candidates)
    from serving.partitions import PartitionedIndex

    return PartitionedIndex(plan, candidates)


def wider_plan(plan: IndexPlan, num_items: int, config: IndexConfig) -> IndexPlan | None:
    """The next plan to try where ``plan`` finds too little: twice the leaves searched, twice the candidates rescored.

    The partitions stay, so that the same index serves it. None where the configuration has fixed what could be widened,
    or nothing is left to widen.
    """
    if plan.kind == "exact":
        return None
    searched, reorder = plan.leaves_to_search, plan.reorder
    if config.leaves_to_search is None:
        searched = min(2 * searched, plan.leaves)
    if config.reorder is None:
        reorder = max(reorder, min(2 * reorder, _MOST_REORDER, num_items))
    wider = dataclasses.replace(plan, leaves_to_search=searched, reorder=reorder)
    return wider if wider != plan else None


class ScannIndex(tfrs.layers.factorized_top_k.TopK):
    """Largest dot products by ScaNN, with k chosen by the request.

    What `tfrs.layers.factorized_top_k.ScaNN` does not offer: the brute-force scorer, a number of neighbours that is a
    tensor, and a mark on the slots for which ScaNN found nothing, which otherwise name the first candidate.
    """

    def __init__(self, plan: IndexPlan, k: int = 50, name: str | None = None) -> None:
        """Args are the parameters of the index, and the neighbours returned when a call names none."""
        super().__init__(k=k, name=name)
        self._plan = plan
        self._num_candidates = 0
        self._state: Any = None
        self._identity = uuid.uuid4().hex

    def index(self, candidates: Any, identifiers: Any = None) -> "ScannIndex":
        """Builds the index over ``candidates``, float32 [N, d]; answers name them by row.

        Raises:
          ValueError: identifiers are given, the candidates are no matrix with a row, or too few for a tree.
        """
        from scann.scann_ops.py import scann_ops

        if identifiers is not None:
            raise ValueError("ScannIndex answers with rows of the candidates; map them to identifiers outside")
        if len(candidates.shape) != 2 or not candidates.shape[0]:
            raise ValueError(f"candidates must be a matrix with at least one row, got shape {candidates.shape}")
        self._num_candidates = int(candidates.shape[0])
        builder = scann_ops.builder(candidates, self._k, "dot_product")
        if self._plan.kind == "tree":
            if self._num_candidates < LEAST_TREE:
                raise ValueError(f"a tree needs at least {LEAST_TREE} candidates, got {self._num_candidates}")
            builder = builder.tree(
                num_leaves=self._plan.leaves,
                num_leaves_to_search=self._plan.leaves_to_search,
                training_sample_size=min(self._num_candidates, 250_000),
                min_partition_size=1,
            )
            builder = builder.score_ah(dimensions_per_block=2, anisotropic_quantization_threshold=0.2)
            builder = builder.reorder(self._plan.reorder)
        else:
            builder = builder.score_brute_force()
        self._state = builder.build(shared_name=f"{self._identity}-built").serialize_to_module()
        return self

    def _searcher(self) -> Any:
        """The searcher in memory, made of the saved tensors by the first call.

        ScaNN's own ``recreate_handle`` names neither the node nor the resource. Then two indexes of a loaded SavedModel
        come to share one searcher, and each signature of a session makes one of its own.
        """
        from scann.scann_ops.py import scann_ops

        state = self._state
        handle = scann_ops.tensors_to_scann(
            state.dataset,
            state.scann_config,
            state.serialized_partitioner,
            state.datapoint_to_token,
            state.ah_codebook,
            state.hashed_dataset,
            state.int8_dataset,
            state.int8_multipliers,
            state.dp_norms,
            shared_name=self._identity,
            name=f"searcher_{self._identity}",
        )
        return scann_ops.ScannSearcher(handle)

    def search_with(self, plan: IndexPlan) -> None:
        """Searches as ``plan`` says from now on; its kind and leaves have to be those of the index."""
        if (plan.kind, plan.leaves) != (self._plan.kind, self._plan.leaves):
            raise ValueError(f"an index of {self._plan} cannot be searched with {plan}")
        self._plan = plan

    def call(self, queries: Any, k: Any = None) -> tuple[Any, Any]:
        """Searches.

        Args:
          queries: float32 [B, d].
          k: int32 scalar, neighbours wanted; may be 0 or above N.

        Returns:
          Scores float32 [B, k], falling, and candidate rows int32 [B, k]; -inf and -1 where ScaNN found nothing.
        """
        wanted = tf.convert_to_tensor(self._k if k is None else k, tf.int32)
        asked = tf.clip_by_value(wanted, 1, self._num_candidates)  # ScaNN takes nothing else
        tree = self._plan.kind == "tree"
        indices, scores = self._searcher().search_batched(
            queries,
            final_num_neighbors=asked,
            pre_reorder_num_neighbors=tf.maximum(asked, self._plan.reorder) if tree else None,
            leaves_to_search=self._plan.leaves_to_search if tree else None,
        )
        # As wide as the longest list of the batch; shorter ones are padded with NaN and row 0.
        indices, scores = tf.ensure_shape(indices, [None, None]), tf.ensure_shape(scores, [None, None])
        scores, indices = scores[:, :wanted], indices[:, :wanted]
        real = tf.math.is_finite(scores)
        missing = [[0, 0], [0, wanted - tf.shape(scores)[1]]]
        return (
            tf.pad(tf.where(real, scores, -math.inf), missing, constant_values=-math.inf),
            tf.pad(tf.where(real, tf.cast(indices, tf.int32), -1), missing, constant_values=-1),
        )

    @property
    def state(self) -> Any:
        """What a SavedModel has to carry, a `tf.Module`; the layer itself it need not."""
        return self._state

    def is_exact(self) -> bool:
        """Whether the answers are those of an exhaustive search."""
        return self._plan.kind == "exact"
