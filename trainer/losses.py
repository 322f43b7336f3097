"""The losses of the joint objective, as TFRS tasks, and the arithmetic of sampled candidates."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from preprocessing.backend import tf, tfrs

_MASKED = -1e9


def log_inclusion(chance: NDArray[np.float64], *, draws: float, uniform: int) -> NDArray[np.float32]:
    """Log-probability that an item is among a batch's candidates, exact and never clipped.

    A batch is ``draws`` draws, of which each holds the item with probability p, and ``uniform`` items drawn uniformly
    with replacement; an item is a candidate once, however often it is drawn:
    ``1 - (1 - p) ** draws * (1 - 1/N) ** uniform``. Correcting a sampled softmax by it is the logQ correction of Yi
    et al., "Sampling-bias-corrected neural modeling for large corpus item recommendations" (RecSys 2019).

    Args:
      chance: float64 [N], p of each item.
      draws: draws of a batch.
      uniform: uniform draws; N or more stand for the whole catalogue, each item being present for certain.

    Returns:
      float32 [N], at most 0; an item that can not be drawn gets the value of the rarest one that can.
    """
    if uniform >= len(chance):
        return np.zeros(len(chance), dtype=np.float32)
    possible = chance > 0
    lowest = chance[possible].min() if possible.any() else 1.0
    log_absent = draws * np.log1p(-np.clip(chance, lowest, 1.0 - 1e-12))
    if uniform:
        log_absent += uniform * np.log1p(-1.0 / len(chance))
    return np.asarray(np.log(-np.expm1(log_absent)), dtype=np.float32)


class EngagementTask(tf.keras.layers.Layer, tfrs.tasks.Task):
    """Sampled softmax over the batch's candidates, for rows with several targets each.

    With logits s, log-inclusion q and N(r) the candidates of row r that are not its known positives,

      L_eng = sum_{r, t} w_rt (log(exp(s_rt - q_t) + sum_{j in N(r)} exp(s_rj - q_j)) - (s_rt - q_t)) / sum w

    where a row knows no positives, the sum is over all candidates: the softmax of the row's targets among them.

    Rows and candidates make by far the largest matrix of a step. So products and gradient are spelled out: TensorFlow
    would put its own gradient together from seven more of that size, where this takes none.
    """

    def __init__(self) -> None:
        super().__init__(name="engagement_task")

    def call(
        self,
        queries: Any,
        answers: Any,
        log_offset: Any,
        positives: Any,
        targets: Any,
        weight: Any,
        total_weight: Any | None = None,
    ) -> Any:
        """Computes the loss, a float32 scalar.

        Args:
          queries: float32 [B, d], of the rows.
          answers: float32 [C, d], of the candidates; the logits are their products with the queries.
          log_offset: float32 [C], taken off the candidates' logits.
          positives: int32 [n, 2], cells (row, candidate) that are no negatives, besides the targets'; None to compare
            with all candidates.
          targets: int32 [P, 2], cells of the rows' targets.
          weight: float32 [P], of the targets.
          total_weight: what the sum over the rows is divided by, where they are some of a batch's; by default, the
            sum of ``weight``.
        """
        total_weight = tf.reduce_sum(weight) if total_weight is None else total_weight
        row = targets[:, 0]

        @tf.custom_gradient
        def loss_of(queries: Any, answers: Any) -> Any:
            # One column more takes q off within the product.
            one, offset = tf.ones_like(queries[:, :1]), -log_offset[:, tf.newaxis]
            logits = tf.matmul(tf.concat([queries, one], 1), tf.concat([answers, offset], 1), transpose_b=True)
            target = tf.gather_nd(logits, targets)
            if positives is not None:
                hidden = tf.concat([positives, targets], axis=0)
                with tf.control_dependencies([target]):  # the matrix may be written into then
                    logits = tf.tensor_scatter_nd_update(logits, hidden, tf.fill(tf.shape(hidden)[:1], _MASKED))
            most = tf.reduce_max(logits, axis=1, keepdims=True)
            shares = tf.exp(logits - most)
            total = tf.reduce_sum(shares, axis=1, keepdims=True)
            lead = tf.gather(tf.squeeze(most + tf.math.log(total), axis=1), row) - target
            loss = lead if positives is None else tf.nn.softplus(lead)
            slope = weight if positives is None else weight * tf.sigmoid(lead)

            def gradient(upstream: Any) -> Any:
                # By the logits it is  shares * push  of each row, less  pull  at the targets.
                pull = tf.math.divide_no_nan(upstream, total_weight) * slope
                of_row = tf.math.unsorted_segment_sum(pull, row, tf.shape(queries)[0])
                push = of_row[:, tf.newaxis] / total
                pulls = tf.SparseTensor(tf.cast(targets, tf.int64), pull, tf.shape(shares, tf.int64))
                return (
                    push * tf.matmul(shares, answers) - tf.sparse.sparse_dense_matmul(pulls, answers),
                    tf.matmul(shares, push * queries, transpose_a=True)
                    - tf.sparse.sparse_dense_matmul(pulls, queries, adjoint_a=True),
                )

            return tf.math.divide_no_nan(tf.reduce_sum(loss * weight), total_weight), gradient

        return loss_of(queries, answers)


class AnnotationTask(tf.keras.layers.Layer, tfrs.tasks.Task):
    """Cross-entropy of graded pairs: what the relevance head makes of a pair's cosine s against its grade g in [0, 1].

      L_ann = - mean [ g log p + (1 - g) log(1 - p) ],  p = sigmoid(a s + b)

    with a learned scale a and offset b, so that grades need not mean what cosines do. The grades' own entropy is taken
    off, so that a perfect head scores 0.
    """

    def __init__(self) -> None:
        super().__init__(name="annotation_task")
        self._scale = self.add_weight(name="scale", shape=(), initializer=tf.keras.initializers.Constant(5.0))
        self._offset = self.add_weight(name="offset", shape=(), initializer=tf.keras.initializers.Constant(-2.0))

    def call(self, cosine: Any, grade: Any, total: Any | None = None) -> Any:
        """Computes the loss, a float32 scalar.

        Args:
          cosine: float32 [n].
          grade: float32 [n].
          total: number of all pairs, an int32 scalar, where these are some of a step's; by default n.
        """
        loss = tf.nn.sigmoid_cross_entropy_with_logits(grade, self._scale * cosine + self._offset)
        entropy = -(tf.math.xlogy(grade, grade) + tf.math.xlogy(1.0 - grade, 1.0 - grade))
        total = tf.size(grade) if total is None else total
        return tf.reduce_sum(loss - entropy) / tf.cast(total, tf.float32)


class DistillationTask(tf.keras.layers.Layer, tfrs.tasks.Task):
    """Cross-entropy of a head's softmax over candidates against the teacher's.

      L_rel = mean_r [ H(softmax(cos_r / tau), softmax(s_r)) - H(softmax(cos_r / tau)) ]

    The teacher's entropy is taken off, so that a perfect student scores 0. A candidate is never compared with itself.
    Rows may weigh more or less than others.
    """

    def __init__(self, teacher_temperature: float) -> None:
        """Builds the task with the tau of the teacher's softmax."""
        super().__init__(name="distillation_task")
        self._teacher_temperature = teacher_temperature

    def call(
        self, logits: Any, teacher_cosine: Any, valid: Any, total: Any | None = None, weight: Any | None = None
    ) -> Any:
        """Computes the loss, a float32 scalar.

        Args:
          logits: float32 [R, C], the head's logits of rows against candidates.
          teacher_cosine: float32 [R, C].
          valid: bool [R, C], pairs to compare: both sides known to the teacher, and different items.
          total: number of all rows with a valid pair, a float32 scalar, where these are some of a batch's; by default,
            of these.
          weight: float32 [R], what each row weighs; by default 1.
        """
        row_weight = tf.cast(tf.reduce_any(valid, axis=1), tf.float32)
        total = tf.reduce_sum(row_weight) if total is None else total
        row_weight = row_weight if weight is None else row_weight * weight
        log_teacher = tf.nn.log_softmax(tf.where(valid, teacher_cosine / self._teacher_temperature, _MASKED), axis=1)
        teacher = tf.exp(log_teacher)  # 0 where a pair does not count
        negative_entropy = tf.reduce_sum(teacher * log_teacher, axis=1)

        @tf.custom_gradient
        def loss_of(logits: Any) -> Any:
            masked = tf.where(valid, logits, _MASKED)
            most = tf.reduce_max(masked, axis=1, keepdims=True)
            shares = tf.exp(masked - most)
            share_sum = tf.reduce_sum(shares, axis=1, keepdims=True)
            normaliser = tf.squeeze(most + tf.math.log(share_sum), axis=1)
            divergence = negative_entropy + normaliser - tf.reduce_sum(teacher * logits, axis=1)

            def gradient(upstream: Any) -> Any:
                of_row = tf.math.divide_no_nan(upstream * row_weight, total)[:, tf.newaxis]
                return shares * (of_row / share_sum) - teacher * of_row

            return tf.math.divide_no_nan(tf.reduce_sum(divergence * row_weight), total), gradient

        return loss_of(logits)
