"""The MTMH model: one encoder, two heads, one joint loss."""

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from preprocessing.backend import tf, tfrs
from preprocessing.config import FeaturesConfig
from trainer.candidates import CandidateSampler, TrainingTables
from trainer.catalogue import Catalogue
from trainer.config import LossConfig, ModelConfig
from trainer.encoder import EncoderSizes, ItemEncoder, ItemInputs
from trainer.heads import EngagementCandidateTower, EngagementQueryTower, RelevanceQueryTower, Temperature
from trainer.losses import DistillationTask, EngagementTask

_EMBED_BATCH = 8192


@dataclasses.dataclass(frozen=True)
class ItemVectors:
    """What the heads say of items; every row is L2-normalised.

    Attributes:
      engagement_trigger: float32 [n, d].
      engagement_candidate: float32 [n, d].
      relevance: float32 [n, d]; all zero for a model without a relevance head.
    """

    engagement_trigger: NDArray[np.float32]
    engagement_candidate: NDArray[np.float32]
    relevance: NDArray[np.float32]


class MTMHModel(tfrs.Model):
    """Multi-task, multi-head item-to-item retrieval.

    With ``model.name`` ``one_head`` it is the usual co-engagement model: the same encoder, negatives and logQ
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
        self._dimension = model.dimension
        self._id_dropout, self._content_dropout = model.id_dropout, model.content_dropout
        self._loss_config = loss
        self._seed = seed
        self._num_items = catalogue.num_items
        self._catalogue = _CatalogueTensors(catalogue)
        self._sampler: CandidateSampler | None = None
        self.encoder = ItemEncoder(
            EncoderSizes(catalogue.num_items, len(catalogue.vocabulary) + 2, catalogue.content.shape[1]),
            features,
            model,
        )
        self.engagement_query = EngagementQueryTower(model.dimension)
        self.engagement_candidate = EngagementCandidateTower(model.dimension)
        self.engagement_temperature = Temperature(0.07, name="engagement_temperature")
        self.engagement_task = EngagementTask()
        self.known = tf.Variable(catalogue.known, trainable=False, name="known")
        self.step = tf.Variable(0, dtype=tf.int64, trainable=False, name="step")
        self._distilled: dict[str, float] = {}
        if self.two_heads:
            self.relevance_query = RelevanceQueryTower(model.dimension, features.content_vector)
            self.relevance_temperature = Temperature(loss.teacher_temperature, name="relevance_temperature")
            self.align_temperature = Temperature(loss.teacher_temperature, name="align_temperature")
            self.distillation_task = DistillationTask(loss.teacher_temperature)
            weights = {"relevance": loss.relevance, "align": loss.align}
            self._distilled = {name: weight for name, weight in weights.items() if weight}
            # A term that is left out gives no gradient; Keras would warn of its variables.
            self.relevance_query.trainable = self.relevance_temperature.trainable = bool(loss.relevance)
            self.align_temperature.trainable = bool(loss.align)
        # Keras finds metrics in what an attribute is when it is set, and has a `_losses` of its own.
        self._loss_means = {
            name: tf.keras.metrics.Mean(name=f"loss_{name}") for name in ("joint", "engagement", *self._distilled)
        }
        self.embed(self.inputs_of(tf.zeros([1], tf.int32)))
        if self.two_heads and features.content_vector:
            self.relevance_query.initialise_content(principal_axes(catalogue.content, model.dimension))

    def prepare_training(self, tables: TrainingTables) -> None:
        """Gives the model what its losses look up; to be called once before `fit`."""
        self._sampler = CandidateSampler(tables, self._loss_config, self._seed)

    @property
    def sampler(self) -> CandidateSampler:
        """Where candidates come from.

        Raises:
          RuntimeError: `prepare_training` has not been called.
        """
        if self._sampler is None:
            raise RuntimeError("call prepare_training before fit")
        return self._sampler

    def temperatures(self) -> dict[str, float]:
        """The learned temperatures, by name."""
        layers = [self.engagement_temperature]
        if self.two_heads:
            layers += [self.relevance_temperature, self.align_temperature]
        return {layer.name: float(layer.value) for layer in layers}

    def parts(self) -> dict[str, Any]:
        """What makes up the trained model, by name: without the optimizer, the metrics and the step."""
        parts = {
            "known": self.known,
            "encoder": self.encoder,
            "engagement_query": self.engagement_query,
            "engagement_candidate": self.engagement_candidate,
            "engagement_temperature": self.engagement_temperature,
        }
        if self.two_heads:
            parts |= {
                "relevance_query": self.relevance_query,
                "relevance_temperature": self.relevance_temperature,
                "align_temperature": self.align_temperature,
            }
        return parts

    # --- encoding -----------------------------------------------------------------------------------------------

    def inputs_of(self, index: Any) -> ItemInputs:
        """Encoder inputs of catalogue items, by index int32 [n]."""
        table = self._catalogue
        return ItemInputs(
            index=tf.where(tf.gather(self.known, index), index, self._num_items),
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
            relevance = tf.zeros([tf.shape(hidden)[0], self._dimension])
        return self.engagement_query(hidden), self.engagement_candidate(hidden), relevance

    @tf.function(reduce_retracing=True, autograph=False)
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

    @tf.autograph.experimental.do_not_convert  # nothing to convert, and looking for it takes a dozen seconds
    def train_step(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """One step of `tfrs.Model`."""
        return dict(super().train_step(inputs))

    def compute_loss(self, inputs: dict[str, Any], training: bool = False) -> Any:
        """The joint loss of a batch, see `trainer.data.training_batches`.

        Every item that the batch needs, as a trigger or as a candidate of either loss, is encoded once.
        """
        trigger, target, weight = inputs["trigger"], inputs["target"], inputs["weight"]
        candidates = self.sampler.for_engagement(target, weight, self.step)
        rows = trigger[: self._loss_config.relevance_rows]
        compared = self.sampler.for_relevance(rows, self.step) if self._distilled else rows[:0]
        # Candidates are distinct: put first, they keep their order, and a slice stands for a gather.
        size, rows_size = tf.size(candidates), tf.size(rows)
        index, position = tf.unique(tf.concat([candidates, trigger, compared], axis=0))
        _, at_trigger, at_compared = tf.split(position, [size, tf.size(trigger), tf.size(compared)])
        at_rows = at_trigger[:rows_size]
        items = self.inputs_of(index)
        keep_id, keep_content = self._kept(index, self._id_dropout, 3), self._kept(index, self._content_dropout, 4)
        hidden = self.encoder(items, keep_id, keep_content)
        queries = self.engagement_query(tf.gather(hidden, at_trigger))
        answers = self.engagement_candidate(hidden)

        engagement = self._engagement_loss(queries, answers[:size], candidates, trigger, target, weight)
        losses = {"engagement": engagement}
        loss = engagement
        if self._distilled:
            left, right = tf.gather(items.content, at_rows), tf.gather(items.content, at_compared)
            cosine, valid = _teacher_cosine(left, right, rows, compared)
        if "relevance" in self._distilled:
            vectors = self.relevance_query(hidden, keep_content * items.content)
            logits = _logits(self.relevance_temperature, tf.gather(vectors, at_rows), tf.gather(vectors, at_compared))
            losses["relevance"] = self.distillation_task(logits, cosine, valid)
        if "align" in self._distilled:
            logits = _logits(self.align_temperature, queries[:rows_size], tf.gather(answers, at_compared))
            losses["align"] = self.distillation_task(logits, cosine, valid)
        for name, factor in self._distilled.items():
            loss += factor * losses[name]
        for name, value in losses.items():
            self._loss_means[name].update_state(value)
        self._loss_means["joint"].update_state(loss)
        if training:
            self.step.assign_add(1)
        return loss

    def _engagement_loss(
        self, queries: Any, answers: Any, candidates: Any, trigger: Any, target: Any, weight: Any
    ) -> Any:
        places = self.sampler.places(candidates)
        return self.engagement_task(
            _logits(self.engagement_temperature, queries, answers),
            tf.gather(self.sampler.log_inclusion, candidates),
            self.sampler.positives(trigger, target, weight, places, tf.size(candidates)),
            tf.maximum(tf.gather(places, target), 0),
            weight,
        )

    def _kept(self, index: Any, rate: float, stream: int) -> Any:
        """A mask of 0 and 1 for the n items of a step, float32 [n, 1], 0 with probability ``rate``."""
        uniform = tf.random.stateless_uniform(tf.stack([tf.size(index), 1]), self.sampler.stream(self.step, stream))
        return tf.cast(uniform >= rate, tf.float32)


def principal_axes(content: NDArray[np.float32], dimension: int) -> NDArray[np.float32]:
    """Leading axes of the teacher's second moment, so that dot products are kept best: [D, ``dimension``]."""
    values, axes = np.linalg.eigh(content.T.astype(np.float64) @ content)
    leading = axes[:, np.argsort(-values, kind="stable")][:, :dimension]
    padding = max(0, dimension - leading.shape[1])
    return np.pad(leading, ((0, 0), (0, padding))).astype(np.float32)


def _logits(temperature: Temperature, left: Any, right: Any) -> Any:
    """Logits [R, C] of unit vectors [R, d] against [C, d]; the smaller factor is scaled, not the product."""
    return tf.matmul(temperature(left), right, transpose_b=True)


def _teacher_cosine(left: Any, right: Any, rows: Any, compared: Any) -> tuple[Any, Any]:
    """Teacher cosines [R, C] and which of them count: both sides known to the teacher, and different items."""
    present = tf.reduce_any(left != 0.0, axis=1)[:, tf.newaxis] & tf.reduce_any(right != 0.0, axis=1)[tf.newaxis, :]
    return tf.matmul(left, right, transpose_b=True), present & (rows[:, tf.newaxis] != compared[tf.newaxis, :])


class _CatalogueTensors:
    """The catalogue's columns as constants, kept out of Keras' tracking and so out of checkpoints."""

    def __init__(self, catalogue: Catalogue) -> None:
        self.tokens = tf.constant(catalogue.tokens)
        self.categories = tf.constant(catalogue.categories)
        self.content = tf.constant(catalogue.content)
