"""The MTMH model: one encoder, two heads, one joint loss."""

import dataclasses
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from preprocessing.backend import tf, tfrs
from preprocessing.config import FeaturesConfig
from preprocessing.evenly import evenly_spread
from trainer.candidates import CandidateSampler, TrainingTables
from trainer.catalogue import Catalogue
from trainer.catalogue_tensors import CatalogueTensors
from trainer.cold_start import FIT_ITEMS, ColdStartQuery, fit_cold_start
from trainer.config import FLOAT32, MIXED_BFLOAT16, LossConfig, ModelConfig
from trainer.density import MOST_ALIGN, align_weight, unseen_weight
from trainer.encoder import Carried, EncoderSizes, ItemEncoder, ItemInputs
from trainer.heads import (
    EngagementCandidateTower,
    EngagementQueryTower,
    RelevanceQueryTower,
    Temperature,
    principal_axes,
)
from trainer.loss_means import LossMeans
from trainer.losses import AnnotationTask, DistillationTask, EngagementTask
from trainer.precision import products_in_bfloat16
from trainer.replica import Replica
from trainer.variants import has_engagement_head, has_relevance_head, id_dropout, id_element_dropout

JOINT: Final = "joint"

ENGAGEMENT: Final = "engagement"
RELEVANCE: Final = "relevance"
ALIGN: Final = "align"
ANNOTATIONS: Final = "annotations"

_EMBED_BATCH = 8192


@dataclasses.dataclass(frozen=True)
class ItemVectors:
    """What the heads say of items; every row is L2-normalised.

    Attributes:
      engagement_trigger: float32 [n, d]; all zero for a model without an engagement head.
      engagement_candidate: float32 [n, d]; likewise.
      relevance: float32 [n, d]; all zero for a model without a relevance head.
    """

    engagement_trigger: NDArray[np.float32]
    engagement_candidate: NDArray[np.float32]
    relevance: NDArray[np.float32]


class MTMHModel(tfrs.Model):
    """Multi-task, multi-head item-to-item retrieval.

    With one head it is the usual co-engagement model: the same encoder, negatives and logQ correction, without the
    relevance head and its losses; see `trainer.variants`.
    """

    def __init__(
        self, catalogue: Catalogue, features: FeaturesConfig, model: ModelConfig, loss: LossConfig, seed: int
    ) -> None:
        """Builds all variables.

        Args:
          catalogue: the item table; its arrays become constants that the losses gather from.
          features: what the encoder sees.
          model: sizes, and by its name the heads.
          loss: weights of the joint loss.
          seed: of initial weights, dropout and negatives.
        """
        super().__init__(name="mtmh")
        tf.keras.utils.set_random_seed(seed)
        self.has_engagement, self.has_relevance = has_engagement_head(model.name), has_relevance_head(model.name)
        self._dimension = model.dimension
        self._model_config = model
        self._loss_config = loss
        self._seed = seed
        self._num_items = catalogue.num_items
        self._catalogue = CatalogueTensors(catalogue)
        self._sampler: CandidateSampler | None = None
        self._halves_products = False
        self.cold_start: ColdStartQuery | None = None
        self.encoder = ItemEncoder(
            EncoderSizes(catalogue.num_items, len(catalogue.vocabulary) + 2, catalogue.content.shape[1]),
            features,
            model,
        )
        self.known = tf.Variable(catalogue.known, trainable=False, name="known")
        self.step = tf.Variable(
            0, dtype=tf.int64, trainable=False, name="step", aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA
        )
        terms: dict[str, float] = {}
        if self.has_engagement:
            self.engagement_query = EngagementQueryTower(model.dimension)
            self.engagement_candidate = EngagementCandidateTower(model.dimension)
            self.engagement_temperature = Temperature(0.07, name="engagement_temperature")
            self.engagement_task = EngagementTask()
            if features.content_vector and model.cold_start:
                self.cold_start = ColdStartQuery(catalogue.content.shape[1], model.dimension, model.cold_start)
            if loss.align is None or loss.align:
                self.align_temperature = Temperature(loss.teacher_temperature, name="align_temperature")
            terms |= {ENGAGEMENT: 1.0, ALIGN: MOST_ALIGN if loss.align is None else loss.align}
        if self.has_relevance:
            self.relevance_query = RelevanceQueryTower(model.dimension, features.content_vector)
            self.relevance_temperature = Temperature(loss.teacher_temperature, name="relevance_temperature")
            # A term that is left out gives no gradient; Keras would warn of its variables.
            self.relevance_query.trainable = self.relevance_temperature.trainable = bool(loss.relevance)
            terms[RELEVANCE] = loss.relevance
            self.annotation_task = AnnotationTask()
        self.distillation_task = DistillationTask(loss.teacher_temperature)
        self._terms = {name: weight for name, weight in terms.items() if weight}
        self.embed(self.inputs_of(tf.zeros([1], tf.int32)))
        if self.has_engagement:
            # Both sides start alike: what is near in the encoder is taken for engaged with together.
            self.engagement_candidate.set_weights(self.engagement_query.get_weights())
        if self.has_relevance and features.content_vector:
            self.relevance_query.initialise_content(principal_axes(catalogue.content, model.dimension))

    def prepare_training(self, tables: TrainingTables, precision: str = FLOAT32) -> None:
        """Gives the model what its losses look up, and ``trainer.precision``; to be called once before `fit`."""
        self._halves_products = precision == MIXED_BFLOAT16
        self._sampler = CandidateSampler(tables, self._loss_config, self._seed)
        self._id_dropout = id_dropout(self._model_config, tables.triggers_per_item)
        self._id_element_dropout = id_element_dropout(self._model_config, tables.triggers_per_item)
        self._unseen_weight = 1.0
        if ALIGN in self._terms and self._loss_config.align is None:
            self._terms[ALIGN] = align_weight(tables.triggers_per_item, tables.teacher_breadth, tables.teacher_gain)
            self._unseen_weight = unseen_weight(tables.teacher_gain)
        annotated = self.has_relevance and self._sampler.has_annotations and self._loss_config.annotations > 0
        if annotated:
            self._terms[ANNOTATIONS] = self._loss_config.annotations
            self.relevance_query.trainable = True
        if self.has_relevance:
            self.annotation_task.trainable = annotated
        self.loss_means = LossMeans([JOINT, *self._terms])

    @property
    def sampler(self) -> CandidateSampler:
        """Where candidates come from.

        Raises:
          RuntimeError: `prepare_training` has not been called.
        """
        if self._sampler is None:
            raise RuntimeError("call prepare_training before fit")
        return self._sampler

    @property
    def suited(self) -> dict[str, float]:
        """What options by full name stand at that a configuration may leave to the data; after `prepare_training`."""
        return {
            "loss.align": self._terms.get(ALIGN, 0.0),
            "model.id_dropout": self._id_dropout,
            "model.id_element_dropout": self._id_element_dropout,
        }

    def temperatures(self) -> dict[str, float]:
        """The learned temperatures, by name."""
        return {layer.name: float(layer.value) for layer in self._temperatures()}

    def _temperatures(self) -> list[Temperature]:
        return [layer for layer in self.layers if isinstance(layer, Temperature)]

    def parts(self) -> dict[str, Any]:
        """What makes up the trained model, by name: without the optimizer, the metrics and the step."""
        parts = {"known": self.known, "encoder": self.encoder}
        if self.has_engagement:
            parts |= {"engagement_query": self.engagement_query, "engagement_candidate": self.engagement_candidate}
        if self.cold_start is not None:
            parts["cold_start"] = self.cold_start
        if self.has_relevance:
            parts["relevance_query"] = self.relevance_query
        return parts | {layer.name: layer for layer in self._temperatures()}

    def carry_over(self, other: "MTMHModel", carried: Carried) -> None:
        """Takes the weights of a model of the same shape and another catalogue, and the identities of its items."""
        self.encoder.carry_over(other.encoder, carried)
        if self.has_engagement:
            self.engagement_query.set_weights(other.engagement_query.get_weights())
            self.engagement_candidate.set_weights(other.engagement_candidate.get_weights())
        if self.has_relevance:
            self.relevance_query.carry_over(other.relevance_query, carried.rotation)
        known = self.known.numpy()
        known[carried.items.mine] = True
        self.known.assign(known)
        theirs = {layer.name: layer for layer in other._temperatures()}
        for layer in self._temperatures():
            if layer.name in theirs:
                layer.set_weights(theirs[layer.name].get_weights())

    # --- encoding -----------------------------------------------------------------------------------------------

    def inputs_of(self, index: Any) -> ItemInputs:
        """Encoder inputs of catalogue items, by index int32 [n]."""
        return self._catalogue.inputs_of(index, tf.where(tf.gather(self.known, index), index, self._num_items))

    def embed(self, items: ItemInputs) -> tuple[Any, Any, Any]:
        """Engagement trigger, engagement candidate and relevance vectors of n items, float32 [n, d] each.

        The trigger of an item without an identity is what `trainer.cold_start` makes of it.
        """
        items = self.encoder.with_content(items)
        hidden = self.encoder(items)
        none = tf.zeros([tf.shape(hidden)[0], self._dimension])
        trigger = self.engagement_query(hidden) if self.has_engagement else none
        if self.cold_start is not None:
            strange = tf.equal(items.index, self._num_items)[:, tf.newaxis]
            trigger = tf.where(strange, self.cold_start(trigger, items.content), trigger)
        return (
            trigger,
            self.engagement_candidate(hidden) if self.has_engagement else none,
            self.relevance_query(hidden, items.content) if self.has_relevance else none,
        )

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

    def learn_cold_start(self) -> None:
        """Fits what items without an identity are asked with, to be called whenever the weights have changed."""
        if self.cold_start is None:
            return
        (known,) = np.nonzero(self.known.numpy())
        index = tf.constant(known[evenly_spread(len(known), FIT_ITEMS)], tf.int32)
        content = tf.gather(self._catalogue.content, index).numpy()
        self.cold_start.assign(*fit_cold_start(content, self.embed_indexes(index)[0].numpy()))

    # --- training -----------------------------------------------------------------------------------------------

    @tf.autograph.experimental.do_not_convert  # nothing to convert, and looking for it takes a dozen seconds
    def train_step(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """One step of `tfrs.Model`; the loss is this replica's part, and Keras adds the parts up."""
        return {"loss": super().train_step(inputs)["loss"]}

    def compute_loss(self, inputs: dict[str, Any], training: bool = False) -> Any:
        """The joint loss of a batch, see `trainer.data.training_batches`; of several replicas, this one's part."""
        with products_in_bfloat16(self._halves_products):
            losses = self.loss_terms(inputs)
        loss = tf.add_n([weight * losses[name] for name, weight in self._terms.items()])
        if training:
            self.loss_means.add({JOINT: loss} | losses)
            self.step.assign_add(1)
        return loss

    def loss_terms(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """The terms of the joint loss before their weights, float32 scalars by name; of several replicas, its part.

        Every item that the batch needs, as a trigger or as a candidate of either loss, is encoded once.
        """
        sampler, step, replica = self.sampler, self.step, Replica.current()
        trigger, target, weight = inputs["trigger"], inputs["target"], inputs["weight"]
        distils = RELEVANCE in self._terms or ALIGN in self._terms
        rows = trigger[: self._loss_config.relevance_rows]
        unseen = sampler.unseen(step) if distils else rows[:0]
        candidates = sampler.for_engagement(target, weight, step) if self.has_engagement else trigger[:0]
        compared = sampler.for_relevance(unseen, step) if distils else rows[:0]
        graded_trigger, graded_item, grade = trigger[:0], trigger[:0], None
        if ANNOTATIONS in self._terms:
            graded_trigger, graded_item, grade = sampler.for_annotations(step)
        # Candidates are distinct: put first, they keep their order, and a slice stands for a gather.
        needed = (candidates, trigger, unseen, compared, graded_trigger, graded_item)
        index, position = tf.unique(tf.concat(needed, axis=0))
        _, at_trigger, at_unseen, at_compared, *at_graded = tf.split(position, [tf.size(part) for part in needed])
        hidden, vectors = self._encode(index, replica)
        at_rows = replica.rows(tf.concat([at_trigger[: tf.size(rows)], at_unseen], axis=0))
        at_trigger, own = replica.rows(at_trigger), {name: replica.rows(value) for name, value in inputs.items()}
        losses = {}
        if distils:
            cosine, valid, valid_rows = self._teacher(tf.concat([rows, unseen], axis=0), compared, replica)
        if self.has_engagement:
            answers = self.engagement_candidate(hidden)
            queries = self.engagement_query(tf.gather(hidden, at_trigger))
            losses[ENGAGEMENT] = self._engagement_loss(
                queries, answers[: tf.size(candidates)], candidates, own, tf.reduce_sum(weight)
            )
        if ALIGN in self._terms:
            queries = self.engagement_query(tf.gather(hidden, at_rows))
            logits = _logits(self.align_temperature, queries, tf.gather(answers, at_compared))
            parts = [tf.ones(tf.shape(rows)), tf.fill(tf.shape(unseen), self._unseen_weight)]
            weights = replica.rows(tf.concat(parts, axis=0))
            losses[ALIGN] = self.distillation_task(logits, cosine, valid, valid_rows, weights)
        if ANNOTATIONS in self._terms:
            left, right = (tf.gather(vectors, replica.rows(at)) for at in at_graded)
            similarity = tf.reduce_sum(left * right, axis=1)
            losses[ANNOTATIONS] = self.annotation_task(similarity, replica.rows(grade), tf.size(grade))
        if RELEVANCE in self._terms:
            logits = _logits(self.relevance_temperature, tf.gather(vectors, at_rows), tf.gather(vectors, at_compared))
            losses[RELEVANCE] = self.distillation_task(logits, cosine, valid, valid_rows)
        return losses

    def _encode(self, index: Any, replica: Replica) -> tuple[Any, Any]:
        """What training sees of n distinct items: hidden [n, hidden], and relevance vectors [n, d] where needed.

        Of several replicas each encodes a part. What dropout hides of an item depends on its place in the whole list.
        """
        keep_id = replica.part(self._kept(index, self._id_dropout, 3))
        keep_content = replica.part(self._kept(index, self._model_config.content_dropout, 4))
        id_scale = replica.part(self._id_scale(index)) if self._id_element_dropout else None
        seen = self.encoder.with_content(self.inputs_of(replica.part(index)), keep_content)
        parts = [self.encoder(seen, keep_id, id_scale)]
        if RELEVANCE in self._terms or ANNOTATIONS in self._terms:
            parts.append(self.relevance_query(parts[0], seen.content))
        hidden, *vectors = replica.joined(parts, tf.size(index))
        return hidden, vectors[0] if vectors else None

    def _teacher(self, rows: Any, compared: Any, replica: Replica) -> tuple[Any, Any, Any]:
        """What the teacher says of the replica's rows [r] of ``rows`` [R] and ``compared`` items [C].

        Returns:
          Cosines float32 [r, C]; bool [r, C], which of them count: both sides known to the teacher, and different
          items; and a float32 scalar, how many of all R rows have one that counts.
        """
        left, right = (tf.gather(self._catalogue.content, index) for index in (rows, compared))
        present = tf.reduce_any(left != 0.0, axis=1)[:, tf.newaxis] & tf.reduce_any(right != 0.0, axis=1)[tf.newaxis, :]
        valid = present & (rows[:, tf.newaxis] != compared[tf.newaxis, :])
        number = tf.reduce_sum(tf.cast(tf.reduce_any(valid, axis=1), tf.float32))
        return tf.matmul(replica.rows(left), right, transpose_b=True), replica.rows(valid), number

    def _engagement_loss(
        self, queries: Any, answers: Any, candidates: Any, own: dict[str, Any], total_weight: Any
    ) -> Any:
        """The engagement loss of a replica's rows, given as a batch is."""
        places = self.sampler.places(candidates)
        present = tf.where(own["weight"] > 0.0)
        column = tf.gather(places, tf.gather_nd(own["target"], present))
        return self.engagement_task(
            self.engagement_temperature(queries),
            answers,
            tf.gather(self.sampler.log_offset, candidates),
            self.sampler.positives(own["trigger"], places),
            tf.stack([tf.cast(present[:, 0], tf.int32), column], axis=1),
            tf.gather_nd(own["weight"], present),
            total_weight,
        )

    @tf.function(reduce_retracing=True, autograph=False)
    def gradient_norms(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """Norm of the shared encoder's gradient from each weighted term of the loss, float32 scalars by name."""
        with tf.GradientTape(persistent=True) as tape:
            terms = {name: self._terms[name] * value for name, value in self.loss_terms(inputs).items()}
        return {
            name: tf.linalg.global_norm(
                [grad for grad in tape.gradient(term, self.encoder.trainable_variables) if grad is not None]
            )
            for name, term in terms.items()
        }

    def _kept(self, index: Any, rate: float, stream: int, width: int = 1) -> Any:
        """A mask of 0 and 1 for the n items of a step, float32 [n, width], 0 with probability ``rate``."""
        uniform = tf.random.stateless_uniform(tf.stack([tf.size(index), width]), self.sampler.stream(self.step, stream))
        return tf.cast(uniform >= rate, tf.float32)

    def _id_scale(self, index: Any) -> Any:
        """Dropout within the identities of n items, float32 [n, dimension]: 0, or what keeps the mean."""
        return self._kept(index, self._id_element_dropout, 6, self._dimension) / (1.0 - self._id_element_dropout)


def _logits(temperature: Temperature, left: Any, right: Any) -> Any:
    """Logits [R, C] of unit vectors [R, d] against [C, d]; the smaller factor is scaled, not the product."""
    return tf.matmul(temperature(left), right, transpose_b=True)
