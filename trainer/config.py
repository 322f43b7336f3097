"""Options of the trainer and of the evaluation."""

import dataclasses
from typing import Final

from preprocessing.config import FeaturesConfig
from preprocessing.options import option
from trainer.names import MODELS, MTMH, PARTS

TRIGGERS: Final = "triggers"
EVENTS: Final = "events"
FLOAT32: Final = "float32"
MIXED_BFLOAT16: Final = "mixed_bfloat16"


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Which model is trained, and its sizes."""

    name: str = option(
        MTMH,
        "`mtmh`: two heads on the joint loss; or one of the baselines that `mtmh compare` sets beside it",
        choices=(*MODELS, *PARTS),
    )
    dimension: int = option(64, "d: length of each head's vectors", minimum=2)
    hidden: int = option(128, "width of the shared encoder", minimum=1)
    text_buckets: int = option(32768, "hash buckets of the word n-grams", minimum=1)
    text_tokens: int = option(32, "longest text that the encoder reads, in n-grams", minimum=1)
    id_dropout: float | None = option(
        None,
        "share of items whose id embedding is hidden in a training step; by default 0.3, and down to 0.1 where an item "
        "has more than 15 trigger events; in models of co-engagement alone, which need the identity, 0.1, and up to "
        "0.3 where an item has fewer than 12; items without any do not count",
        minimum=0,
        maximum=1,
    )
    id_element_dropout: float | None = option(
        None,
        "share of the elements of every id embedding that are dropped in a training step; by default 0.5, in "
        "models of co-engagement alone 0.2, and up to 0.5 where an item has fewer than 8 trigger events; less where it "
        "has more than 15, nothing from 45 on",
        minimum=0,
        maximum=0.9,
    )
    content_dropout: float = option(
        0.1,
        "share of items whose content vector is hidden in a training step; what the words let guess stands in",
        minimum=0,
        maximum=1,
    )
    cold_start: float = option(
        0.6,
        "what an item without any engagement is asked with: share of what items of such content lead to, by a ridge "
        "regression, over what the encoder says; 0 leaves it to the encoder",
        minimum=0,
        maximum=1,
    )


@dataclasses.dataclass(frozen=True)
class LossConfig:
    """Weights and shapes of L = L_eng + λ L_rel + μ L_align + ν L_ann."""

    relevance: float = option(0.5, "λ, weight of the relevance head's distillation loss; 0 leaves it out", minimum=0)
    align: float | None = option(
        None,
        "μ, weight of the same target on the engagement head's logits; 0 leaves it out; by default at most 0.2, less "
        "the more trigger events an item has, as what is rarely seen is guessed from what is like it, less where what "
        "the teacher takes for alike is hardly engaged with together, and less where that is only a handful of items",
        minimum=0,
    )
    annotations: float = option(
        1.0,
        "ν, weight of the relevance head's loss on graded annotations, where there are any; 0 leaves it out",
        minimum=0,
    )
    teacher_temperature: float = option(0.05, "the teacher's target is softmax(cosine / this)", above=0)
    log_q: bool = option(True, "correct the sampled softmax for how often each candidate is drawn")
    trend: float = option(
        0.5,
        "how far the engagement head follows what has become more or less popular lately, in the last tenth of the "
        "rows: a power of the ratio; 0 goes by all the time alike",
        minimum=0,
        maximum=1,
    )
    mask_known_positives: bool | None = option(
        None,
        "never use a known target of the trigger as its negative; by default on data where under 2 % of all pairs of "
        "items that occur are known: where more are, they are what has to be ranked",
    )
    uniform_negatives: int = option(
        2048,
        "candidates drawn uniformly from the catalogue for each batch; a smaller catalogue is taken whole",
        minimum=0,
    )
    annotation_pairs: int = option(512, "graded pairs drawn for each batch; fewer are taken whole", minimum=1)
    relevance_rows: int = option(
        256, "triggers of a batch that the distillation compares with its candidates", minimum=1
    )
    unseen_rows: int | None = option(
        None,
        "and items that were never a trigger, which only their content can speak for; by default as many to "
        "`loss.relevance_rows` as there are such items to the others, at most as many, and none from twelve trigger "
        "events an item that occurs in them",
        minimum=0,
    )
    relevance_candidates: int = option(1024, "items drawn uniformly for the distillation of each batch", minimum=1)
    teacher_neighbours: int = option(
        4, "and near neighbours, by the teacher, of each of the items that were never a trigger", minimum=0
    )


@dataclasses.dataclass(frozen=True)
class TrainerConfig:
    """How the model is trained."""

    epochs: int = option(24, "most epochs", minimum=1)
    steps_per_epoch: int = option(
        25,
        "an epoch is one pass over the trigger events, or this many steps where a pass is longer; of distinct triggers "
        "20 or more",
        minimum=1,
    )
    batches: str | None = option(
        None,
        "`triggers`: a step draws distinct triggers, each with the targets of all its events; `events`: a step reads "
        "trigger events, one after another; by default triggers, as far as the distinct pairs fit in memory",
        choices=(TRIGGERS, EVENTS),
    )
    batch_size: int | None = option(
        None,
        "triggers of one step, each with its targets; by default as many as the catalogue allows, from 512 to 2,048, "
        "and where relevance is learnt few enough for 20 steps a pass; of events "
        "so many that a pass has about 200 steps, from 1,024 to 4,096",
        minimum=2,
    )
    learning_rate: float = option(
        0.002,
        "Adam's step where 1,024 trigger events speak in a step, more with the square root of their number, at most 4 "
        "times as much; after warm-up it decays to a tenth by a cosine",
        above=0,
    )
    targets: int | None = option(
        None,
        "targets of a trigger that are learnt from, the nearest; by default all of `pairs.train_window` where items "
        "have 50 interactions or more in the mean, else `pairs.window`",
        minimum=1,
    )
    averaged_steps: float = option(
        50.0, "the weights that are judged and kept are a moving average over about so many steps", above=0
    )
    patience: int = option(6, "stop after this many epochs without a better recall on the validation slice", minimum=1)
    eval_triggers: int = option(20000, "triggers sampled for the evaluation between epochs", minimum=1)
    precision: str = option(
        FLOAT32,
        "`mixed_bfloat16`: in a training step encoder and towers multiply in bfloat16, for GPUs and TPUs that have it; "
        "weights, logits and losses stay float32, and so does all that the trained model computes",
        choices=(FLOAT32, MIXED_BFLOAT16),
    )
    refit: bool = option(False, "train the pushed model on all rows, those after the split too")
    warm_start: bool = option(
        False,
        "`mtmh run` and `mtmh train`: begin with the weights of the last blessed model, embeddings of items by their "
        "ids, instead of with nothing",
    )
    tensorboard: bool = option(True, "write TensorBoard logs")


@dataclasses.dataclass(frozen=True)
class EvaluateConfig:
    """How models are scored."""

    k: int = option(50, "K of recall@K, relevance@K, topic_match@K", minimum=1)
    tail_share: float = option(
        0.5, "the long tail is this share of the catalogue, the least engaged", above=0, maximum=1
    )
    max_triggers: int | None = option(None, "score a seeded sample of the triggers; by default all", minimum=1)
    bootstrap_resamples: int = option(
        1000, "resamples of the users that the intervals of `mtmh compare` rest on", minimum=1, maximum=100_000
    )


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """All that decides a trained model, given preprocessed examples."""

    seed: int = 0
    features: FeaturesConfig = dataclasses.field(default_factory=FeaturesConfig)
    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    loss: LossConfig = dataclasses.field(default_factory=LossConfig)
    trainer: TrainerConfig = dataclasses.field(default_factory=TrainerConfig)
    evaluate: EvaluateConfig = dataclasses.field(default_factory=EvaluateConfig)


@dataclasses.dataclass(frozen=True)
class GateConfig:
    """What a trained model has to reach before it may be served."""

    min_recall: float = option(
        0.005, "floor of recall@K at the exported dial, on the first run too", minimum=0, maximum=1
    )
    min_relevance: float = option(0.02, "floor of relevance@K at the exported dial", minimum=-1, maximum=1)
    min_tail_share: float = option(0.002, "floor of the long tail's share of what is retrieved", minimum=0, maximum=1)
    over_popularity: float = option(
        1.0, "recall of the engagement head has to be this many times that of the most popular items", minimum=0
    )
    validation_kept: float = option(
        0.4,
        "share of its recall on the validation slice, which comes from before the split, that the model has to keep on "
        "the evaluation's: less says that the latest rows are not of the same making",
        minimum=0,
        maximum=1,
    )
    blessed_kept: float = option(
        0.6,
        "share of the recall that the last blessed model had when it was blessed that it has to keep on the new data: "
        "less says that the data, not the model, have changed",
        minimum=0,
        maximum=1,
    )
    recall_margin: float = option(
        0.05, "share of the last blessed model's recall that the new one may lose, beyond the interval", minimum=0
    )
    slice_margin: float = option(0.15, "likewise of recall in each slice: head, torso, tail", minimum=0)
    relevance_margin: float = option(0.15, "likewise of relevance", minimum=0)
    tail_margin: float = option(0.3, "likewise of the long tail's share", minimum=0)
