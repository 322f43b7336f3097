"""The MTMH model: one encoder, two heads, one joint loss."""

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from preprocessing.backend import tf, tfrs
from preprocessing.config import FeaturesConfig
from trainer.catalogue import Catalogue
from trainer.config import LossConfig, ModelConfig
from trainer.encoder import EncoderSizes, ItemEncoder, ItemInputs
from trainer.heads import EngagementCandidateTower, EngagementQueryTower, RelevanceQueryTower, Temperature
from trainer.losses import DistillationTask, EngagementTask, log_inclusion

_EMBED_BATCH = 8192


@dataclasses.dataclass(frozen=True)
class ItemVectors:
    """What the heads say of items; every row is L2-normalised.

    Attributes:
      engagement_trigger, engagement_candidate: float32 [n, d].
      relevance: float32 [n, d]; all zero for a model without a relevance head.
    """

    engagement_trigger: NDArray[np.float32]
    engagement_candidate: NDArray[np.float32]
    relevance: NDArray[np.float32]


@dataclasses.dataclass(frozen=True)
class TrainingTables:
    """What the losses look up besides the catalogue; needed for training alone.

    Attributes:
      known_row_splits, known_values: known targets of each trigger, see `trainer.data.known_positives`.
      teacher_neighbours: int32 [N, m], near neighbours of each item by the teacher, itself excluded.
      draws_per_batch: expected number of targets in a batch.
    """

    known_row_splits: NDArray[np.int64]
    known_values: NDArray[np.int32]
    teacher_neighbours: NDArray[np.int32]
    draws_per_batch: float


class MTMHModel(tfrs.Model):
    """Multi-task, multi-head item-to-item retrieval.

    With ``config.name`` ``one_head`` it is the usual co-engagement model: the same encoder, negatives and logQ
    correction, without the relevance head and its losses.
    """

    def __init__(
        self, catalogue: Catalogue, features: FeaturesConfig, model: ModelConfig, loss: LossConfig, seed: int
    ) -> None:
        """Builds all variables.

        Args:
          catalogue: the item table; its arrays become constants that the losses gather from.
          features: what the encoder sees.
          model: sizes, and whether there is a relevance head.
          loss: weights of the joint loss.
          seed: of initial weights, dropout and negatives.
        """
        super().__init__(name="mtmh")
        tf.keras.utils.set_random_seed(seed)
        self.two_heads = model.name == "mtmh"
        self._features = features
        self._model_config = model
        self._loss_config = loss
        self._seed = seed
        self._num_items = catalogue.num_items
        self._catalogue = _CatalogueTensors(catalogue)
        self._tables: _TableTensors | None = None
        sizes = EncoderSizes(catalogue.num_items, len(catalogue.vocabulary) + 2, catalogue.content.shape[1])
        self.encoder = ItemEncoder(sizes, features, model)
        self.engagement_query = EngagementQueryTower(model.dimension)
        self.engagement_candidate = EngagementCandidateTower(model.dimension)
        self.engagement_temperature = Temperature(0.07, name="engagement_temperature")
        self.engagement_task = EngagementTask()
        self.step = tf.Variable(0, dtype=tf.int64, trainable=False, name="step")
        self._means = {"engagement": tf.keras.metrics.Mean(name="loss_engagement")}
        if self.two_heads:
            self.relevance_query = RelevanceQueryTower(model.dimension, features.content_vector)
            self.relevance_temperature = Temperature(loss.teacher_temperature, name="relevance_temperature")
            self.align_temperature = Temperature(loss.teacher_temperature, name="align_temperature")
            self.relevance_task = DistillationTask(loss.teacher_temperature, name="relevance_task")
            self._means["relevance"] = tf.keras.metrics.Mean(name="loss_relevance")
            self._means["align"] = tf.keras.metrics.Mean(name="loss_align")
        self.embed_indexes(tf.zeros([1], tf.int32))
        if self.two_heads and features.content_vector:
            self.relevance_query.initialise_content(principal_axes(catalogue.content, model.dimension))

    def prepare_training(self, tables: TrainingTables) -> None:
        """Gives the model what its losses look up; to be called once before `fit`."""
        config = self._loss_config
        self._tables = _TableTensors(
            known_row_splits=tf.constant(tables.known_row_splits),
            known_values=tf.constant(tables.known_values),
            teacher_neighbours=tf.constant(tables.teacher_neighbours),
            log_inclusion=tf.constant(
                log_inclusion(
                    self._catalogue.target_count, draws=tables.draws_per_batch, uniform=config.uniform_negatives
                )
                if config.log_q
                else np.zeros(self._num_items, np.float32)
            ),
        )

    def temperatures(self) -> dict[str, float]:
        """The learned temperatures, by name."""
        layers = [self.engagement_temperature]
        if self.two_heads:
            layers += [self.relevance_temperature, self.align_temperature]
        return {layer.name: float(layer.value) for layer in layers}

    # --- encoding -----------------------------------------------------------------------------------------------

    def inputs_of(self, index: Any) -> ItemInputs:
        """Encoder inputs of catalogue items, by index int32 [n]."""
        table = self._catalogue
        return ItemInputs(
            index=tf.where(tf.gather(table.known, index), index, self._num_items),
            tokens=tf.gather(table.tokens, index),
            categories=tf.gather(table.categories, index),
            content=tf.gather(table.content, index),
        )

    def embed(self, items: ItemInputs) -> tuple[Any, Any, Any]:
        """Engagement trigger, engagement candidate and relevance vectors of n items, float32 [n, d] each."""
        hidden = self.encoder(items)
        if self.two_heads:
            relevance = self.relevance_query(hidden, items.content)
        else:
            relevance = tf.zeros([tf.shape(hidden)[0], self._model_config.dimension])
        return self.engagement_query(hidden), self.engagement_candidate(hidden), relevance

    @tf.function(reduce_retracing=True)
    def embed_indexes(self, index: Any) -> tuple[Any, Any, Any]:
        """`embed` for catalogue items, by index int32 [n]."""
        return self.embed(self.inputs_of(index))

    def embed_catalogue(self) -> ItemVectors:
        """Vectors of all N items, in batches."""
        parts = [
            [part.numpy() for part in self.embed_indexes(tf.range(start, min(start + _EMBED_BATCH, self._num_items)))]
            for start in range(0, self._num_items, _EMBED_BATCH)
        ]
        return ItemVectors(*(np.concatenate(column) for column in zip(*parts, strict=True)))

    # --- training -----------------------------------------------------------------------------------------------

    def compute_loss(self, inputs: dict[str, Any], training: bool = False) -> Any:
        """The joint loss of a batch, see `trainer.data.training_batches`."""
        assert self._tables is not None, "prepare_training comes before fit"
        config = self._loss_config
        trigger, target, weight = inputs["trigger"], inputs["target"], inputs["weight"]
        candidates = self._engagement_candidates(target, weight)
        if self.two_heads:
            rows = trigger[: config.relevance_rows]
            relevance_candidates = self._relevance_candidates(rows)
            wanted = tf.concat([trigger, candidates, relevance_candidates], axis=0)
        else:
            wanted = tf.concat([trigger, candidates], axis=0)
        index, position = tf.unique(wanted)
        inputs_of = self.inputs_of(index)
        hidden = self.encoder(inputs_of, *self._dropout_masks(tf.shape(index)[0]))
        at_trigger, at_candidates = position[: tf.size(trigger)], position[tf.size(trigger) :][: tf.size(candidates)]

        query = tf.gather(self.engagement_query(hidden), at_trigger)
        candidate_vectors = self.engagement_candidate(hidden)
        logits = self.engagement_temperature(
            tf.matmul(query, tf.gather(candidate_vectors, at_candidates), transpose_b=True)
        )
        place = _places(candidates, self._num_items)
        engagement = self.engagement_task(
            logits,
            tf.gather(self._tables.log_inclusion, candidates),
            self._positives(trigger, target, weight, place, tf.size(candidates)),
            tf.maximum(tf.gather(place, target), 0),
            weight,
        )
        self._means["engagement"].update_state(engagement)
        loss = engagement
        if self.two_heads:
            at_relevance = position[tf.size(trigger) + tf.size(candidates) :]
            at_rows = at_trigger[: config.relevance_rows]
            content = inputs_of.content
            row_content, candidate_content = tf.gather(content, at_rows), tf.gather(content, at_relevance)
            cosine = tf.matmul(row_content, candidate_content, transpose_b=True)
            present = tf.reduce_any(row_content != 0.0, axis=1)[:, tf.newaxis]
            present &= tf.reduce_any(candidate_content != 0.0, axis=1)[tf.newaxis, :]
            valid = present & (rows[:, tf.newaxis] != relevance_candidates[tf.newaxis, :])
            if config.relevance:
                vectors = self.relevance_query(hidden, self._kept_content(inputs_of.content))
                relevance_logits = self.relevance_temperature(
                    tf.matmul(tf.gather(vectors, at_rows), tf.gather(vectors, at_relevance), transpose_b=True)
                )
                relevance = self.relevance_task(relevance_logits, cosine, valid)
                self._means["relevance"].update_state(relevance)
                loss += config.relevance * relevance
            if config.align:
                align_logits = self.align_temperature(
                    tf.matmul(
                        query[: config.relevance_rows], tf.gather(candidate_vectors, at_relevance), transpose_b=True
                    )
                )
                align = self.relevance_task(align_logits, cosine, valid)
                self._means["align"].update_state(align)
                loss += config.align * align
        if training:
            self.step.assign_add(1)
        return loss

    def _engagement_candidates(self, target: Any, weight: Any) -> Any:
        """Distinct items, int32 [C]: the batch's targets and uniform draws, or a small catalogue whole."""
        uniform = self._loss_config.uniform_negatives
        if uniform >= self._num_items:
            return tf.range(self._num_items)
        drawn = tf.random.stateless_uniform([uniform], self._stream(1), 0, self._num_items, tf.int32)
        return tf.unique(tf.concat([tf.boolean_mask(target, weight > 0), drawn], axis=0))[0]

    def _relevance_candidates(self, rows: Any) -> Any:
        """Distinct items, int32 [C']: uniform draws and the rows' near neighbours by the teacher."""
        assert self._tables is not None
        count = self._loss_config.relevance_candidates
        drawn = tf.random.stateless_uniform([count], self._stream(2), 0, self._num_items, tf.int32)
        near = tf.reshape(tf.gather(self._tables.teacher_neighbours, rows), [-1])
        return tf.unique(tf.concat([drawn, near], axis=0))[0]

    def _positives(self, trigger: Any, target: Any, weight: Any, place: Any, size: Any) -> Any:
        """Bool [B, C]: the row's own targets, and all known positives of its trigger if configured."""
        assert self._tables is not None
        rows = tf.shape(trigger)[0]
        row = tf.repeat(tf.range(rows), tf.shape(target)[1])
        item = tf.reshape(tf.where(weight > 0, target, -1), [-1])
        if self._loss_config.mask_known_positives:
            splits = self._tables.known_row_splits
            start = tf.gather(splits, trigger)
            length = tf.gather(splits, trigger + 1) - start
            flat = tf.ragged.range(start, start + length)
            row = tf.concat([row, tf.cast(flat.value_rowids(), tf.int32)], axis=0)
            item = tf.concat([item, tf.gather(self._tables.known_values, flat.flat_values)], axis=0)
        column = tf.where(item >= 0, tf.gather(place, tf.maximum(item, 0)), -1)
        inside = column >= 0
        indices = tf.stack([tf.boolean_mask(row, inside), tf.boolean_mask(column, inside)], axis=1)
        hits = tf.scatter_nd(indices, tf.ones_like(indices[:, 0]), tf.stack([rows, size]))
        return hits > 0

    def _dropout_masks(self, count: Any) -> tuple[Any, Any]:
        """Masks of 0 and 1, float32 [n, 1], for id and content of the n items of a step."""
        keep_id = self._kept(count, self._model_config.id_dropout, 3)
        keep_content = self._kept(count, self._model_config.content_dropout, 4)
        return keep_id, keep_content

    def _kept_content(self, content: Any) -> Any:
        return content * self._kept(tf.shape(content)[0], self._model_config.content_dropout, 4)

    def _kept(self, count: Any, rate: float, stream: int) -> Any:
        uniform = tf.random.stateless_uniform(tf.stack([count, 1]), self._stream(stream))
        return tf.cast(uniform >= rate, tf.float32)

    def _stream(self, number: int) -> Any:
        """A seed for one use of randomness in this step: the same step draws the same, resumed or not."""
        return tf.stack([tf.cast(self._seed * 16 + number, tf.int64), self.step])


def principal_axes(content: NDArray[np.float32], dimension: int) -> NDArray[np.float32]:
    """Leading axes of the teacher's second moment, so that dot products are kept best: [D, ``dimension``]."""
    values, axes = np.linalg.eigh(content.T.astype(np.float64) @ content)
    leading = axes[:, np.argsort(-values, kind="stable")][:, :dimension]
    padding = max(0, dimension - leading.shape[1])
    return np.pad(leading, ((0, 0), (0, padding))).astype(np.float32)


def _places(candidates: Any, num_items: int) -> Any:
    """Int32 [N]: where among the candidates each item is, or -1."""
    return tf.tensor_scatter_nd_update(
        tf.fill([num_items], -1), candidates[:, tf.newaxis], tf.range(tf.size(candidates))
    )


@dataclasses.dataclass(frozen=True)
class _TableTensors:
    known_row_splits: Any
    known_values: Any
    teacher_neighbours: Any
    log_inclusion: Any


class _CatalogueTensors:
    """The catalogue's columns as constants, kept out of Keras' tracking and so out of checkpoints."""

    def __init__(self, catalogue: Catalogue) -> None:
        self.tokens = tf.constant(catalogue.tokens)
        self.categories = tf.constant(catalogue.categories)
        self.content = tf.constant(catalogue.content)
        self.known = tf.constant(catalogue.known)
        self.target_count = catalogue.target_count
