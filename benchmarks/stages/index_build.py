"""Building an index against ScaNN called directly, with the same parameters."""

import numpy as np
import scann
from numpy.typing import NDArray

from benchmarks.stages.figures import Figure, in_turn
from serving.config import IndexConfig
from serving.index import build_index, plan_index

_DIMENSION = 128


def measure(*, quick: bool) -> list[Figure]:
    """Seconds of a build; ours ends with the tensors of a SavedModel, ScaNN's own with a searcher in memory."""
    items, repeats = (30_000, 2) if quick else (1_000_000, 3)
    vectors = around_centres(items)
    plan = plan_index(items, IndexConfig(kind="tree"))

    def direct() -> object:
        builder = scann.scann_ops_pybind.builder(vectors, 50, "dot_product").tree(
            num_leaves=plan.leaves,
            num_leaves_to_search=plan.leaves_to_search,
            training_sample_size=min(items, 250_000),
            min_partition_size=1,
        )
        return builder.score_ah(2, anisotropic_quantization_threshold=0.2).reorder(plan.reorder).build()

    seconds = in_turn({"ours": lambda: build_index(plan, vectors), "direct": direct}, repeats)
    ratio = seconds["ours"] / seconds["direct"]
    return [
        Figure("index build", "ScaNN called directly", "s", seconds["ours"], seconds["direct"], ratio,
               "<= 1.2 x", ratio <= 1.2, f"{items:,} x {_DIMENSION}, {plan.leaves:,} leaves")
    ]  # fmt: skip


def around_centres(number: int, dimension: int = _DIMENSION) -> NDArray[np.float32]:
    """Unit vectors around the root of so many centres: float32 [number, dimension]."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(round(number**0.5), dimension)).astype(np.float32)
    vectors = centres[rng.integers(0, len(centres), number)]
    vectors += rng.normal(size=(number, dimension)).astype(np.float32)
    unit: NDArray[np.float32] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit
