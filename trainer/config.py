"""Options of the trainer and of the evaluation."""

import dataclasses

from preprocessing.config import FeaturesConfig
from preprocessing.options import option


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Which model is trained, and its sizes."""

    name: str = option(
        "mtmh",
        "`mtmh`: two heads on the joint loss; `one_head`: co-engagement alone, the usual I2I model",
        choices=("mtmh", "one_head"),
    )
    dimension: int = option(64, "d: length of each head's vectors")
    hidden: int = option(128, "width of the shared encoder")
    text_buckets: int = option(32768, "hash buckets of the word n-grams")
    text_tokens: int = option(32, "longest text that the encoder reads, in n-grams")
    id_dropout: float = option(0.1, "share of items whose id embedding is hidden in a training step")
    content_dropout: float = option(0.1, "share of items whose content vector is hidden in a training step")


@dataclasses.dataclass(frozen=True)
class LossConfig:
    """Weights and shapes of L = L_eng + λ L_rel + μ L_align."""

    relevance: float = option(0.5, "λ, weight of the relevance head's distillation loss; 0 leaves it out")
    align: float = option(0.3, "μ, weight of the same target on the engagement head's logits; 0 leaves it out")
    teacher_temperature: float = option(0.05, "the teacher's target is softmax(cosine / this)")
    log_q: bool = option(True, "correct the sampled softmax for how often each candidate is drawn")
    mask_known_positives: bool = option(True, "never use a known target of the trigger as its negative")
    uniform_negatives: int = option(
        2048, "candidates drawn uniformly from the catalogue for each batch; a smaller catalogue is taken whole"
    )
    relevance_rows: int = option(512, "triggers of a batch that the distillation compares with its candidates")
    relevance_candidates: int = option(1024, "items drawn uniformly for the distillation of each batch")
    teacher_neighbours: int = option(8, "and near neighbours, by the teacher, of each of those triggers")


@dataclasses.dataclass(frozen=True)
class TrainerConfig:
    """How the model is trained."""

    epochs: int = option(20, "most passes over the training pairs")
    batch_size: int = option(1024, "triggers of one step, each with all its targets")
    steps_per_epoch: int | None = option(None, "checkpoint and evaluate after this many steps, not a whole pass")
    learning_rate: float = option(0.002, "Adam's step, after warm-up; decays to a tenth by a cosine")
    patience: int = option(2, "stop after this many epochs without a better recall on the eval split")
    eval_triggers: int = option(20000, "triggers sampled for the evaluation between epochs")
    refit: bool = option(False, "train the pushed model on all rows, those after the split too")
    tensorboard: bool = option(True, "write TensorBoard logs")


@dataclasses.dataclass(frozen=True)
class EvaluateConfig:
    """How models are scored."""

    k: int = option(50, "K of recall@K, relevance@K, topic_match@K")
    tail_share: float = option(0.5, "the long tail is this share of the catalogue, the least engaged")
    max_triggers: int | None = option(None, "score a seeded sample of the triggers; by default all")


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """All that decides a trained model, given preprocessed examples."""

    seed: int = 0
    features: FeaturesConfig = dataclasses.field(default_factory=FeaturesConfig)
    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    loss: LossConfig = dataclasses.field(default_factory=LossConfig)
    trainer: TrainerConfig = dataclasses.field(default_factory=TrainerConfig)
    evaluate: EvaluateConfig = dataclasses.field(default_factory=EvaluateConfig)
