"""One training by several workers at once: what they agree on, who writes, and what a batch is to each.

With ``TF_CONFIG`` in the environment the training is `tf.distribute.MultiWorkerMirroredStrategy`'s: each worker holds
all the weights and does its share of every step, see `trainer.replica`. Without it nothing here does anything.
"""

import contextlib
import dataclasses
import functools
import json
import logging
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from preprocessing.backend import tf
from preprocessing.errors import UserError
from trainer.cluster import TF_CONFIG, Cluster, cluster

logger = logging.getLogger("mtmh.trainer")


@dataclasses.dataclass(frozen=True)
class Distribution:
    """A strategy of TensorFlow's, and this process's place in it.

    Attributes:
      strategy: in whose scope variables are made.
      cluster: the workers.
    """

    strategy: Any
    cluster: Cluster

    @property
    def is_chief(self) -> bool:
        """Whether this worker is the one that writes."""
        return self.cluster.is_chief

    def scope(self) -> Any:
        """Where variables are made that all workers are to hold."""
        return self.strategy.scope()

    def feed(self, batches: Any) -> Any:
        """What `fit` reads: to every replica every batch, of which it knows its own rows.

        Args:
          batches: `tf.data.Dataset`, the same on all workers.
        """
        if self.strategy.num_replicas_in_sync == 1:
            return batches
        local = self.strategy.num_replicas_in_sync // self.cluster.size

        def of_worker(_: Any) -> Any:
            # The replicas of a worker take turns at its data. A stream without an end spares them to agree on the end.
            repeated = batches.flat_map(lambda batch: tf.data.Dataset.from_tensors(batch).repeat(local))
            return repeated.repeat()

        return self.strategy.distribute_datasets_from_function(of_worker)

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Around a training: says in one line that another worker is gone, without which none can go on.

        Raises:
          UserError: one is gone.
        """
        try:
            yield
        except (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError) as error:
            if self.cluster.size == 1:
                raise
            raise UserError(
                f"{self.cluster.task} has lost another worker ({type(error).__name__}); start all of them again with "
                "--resume: they go on from the last finished epoch"
            ) from error

    # --- what is the same everywhere because the chief says so --------------------------------------------------

    def from_chief(self, array: NDArray[Any]) -> NDArray[Any]:
        """The chief's array, on every worker; all give one of the same shape and type."""
        if self.cluster.size == 1:
            return array
        # A variable begins everywhere as on the chief. TensorFlow sends few types.
        kind = np.int64 if array.dtype.kind in "biu" else array.dtype
        with self.scope():
            received = tf.Variable(array.astype(kind), trainable=False).numpy()
        return np.asarray(received, dtype=array.dtype)

    def adopt(self, variables: Iterable[Any]) -> None:
        """Gives variables the chief's values."""
        if self.cluster.size > 1:
            for variable in variables:
                variable.assign(self.from_chief(variable.numpy()))

    def by_chief(self, function: Callable[[], Any]) -> Any:
        """Has the chief alone call a function while the others wait; all get what it returns.

        Args:
          function: returns what JSON can hold.

        Raises:
          UserError: the function's, on every worker.
        """
        if self.cluster.size == 1:
            return function()
        answer: dict[str, Any] = {}
        if self.is_chief:
            try:
                answer = {"result": function()}
            except UserError as error:
                answer = {"error": str(error)}
        text = np.frombuffer(json.dumps(answer).encode("utf-8"), np.uint8)
        size = int(self.from_chief(np.array(len(text))))
        answer = json.loads(self.from_chief(np.resize(text, size)).tobytes())
        if "error" in answer:
            raise UserError(answer["error"])
        return answer["result"]

    def require_equal(self, what: str, text: str) -> None:
        """Checks that a worker has the same of something as the chief.

        Raises:
          UserError: it has not.
        """
        if self.by_chief(lambda: text) != text:
            raise UserError(
                f"{self.cluster.task} was started with other {what} than the chief; give all workers the same"
            )


@functools.cache
def distribution() -> Distribution:
    """How this process trains; to be called before anything of TensorFlow's is computed.

    Raises:
      UserError: ``TF_CONFIG`` is not usable, or TensorFlow is at work already.
    """
    found = cluster()
    if found.size == 1:
        return Distribution(tf.distribute.get_strategy(), found)
    logger.info("%s of %d workers", found.task, found.size)
    try:
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
    except RuntimeError as error:
        raise UserError(
            f"{TF_CONFIG} asks for {found.size} workers, which TensorFlow cannot set up any more in this process "
            f"({error}); train in a process of its own, with `mtmh train`"
        ) from None
    return Distribution(strategy, found)
