"""Examples on disk with an answer known by reasoning, written as the preprocessing writes them."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from preprocessing.catalogue import Item
from preprocessing.config import FeaturesConfig
from preprocessing.manifest import save_manifest
from preprocessing.pairs import Pairs, Triggers
from preprocessing.read import Annotations, EvalTriggers, ItemTable
from preprocessing.schema import EVAL, LAYOUT_VERSION, VALIDATION, Manifest, TableCounts
from preprocessing.write import write_annotations, write_items, write_pairs, write_triggers
from trainer.catalogue import Catalogue, build_catalogue
from trainer.config import LossConfig, ModelConfig, TrainerConfig, TrainingConfig
from trainer.data import PairSummary

Event = tuple[int, Sequence[int]]
"""A trigger and its targets."""
Annotation = tuple[int, int, float, bool]
"""Trigger, item, grade, and whether it is held out."""

SMALL_MODEL = ModelConfig(dimension=8, hidden=16, text_buckets=64, text_tokens=6)
SMALL_LOSS = LossConfig(
    align=0.05,
    mask_known_positives=True,
    uniform_negatives=6,
    relevance_rows=16,
    relevance_candidates=8,
    teacher_neighbours=2,
)
SMALL = TrainingConfig(
    model=SMALL_MODEL,
    loss=SMALL_LOSS,
    trainer=TrainerConfig(epochs=3, batch_size=16, learning_rate=0.02, tensorboard=False),
)


def changed(config, **changes):
    """`dataclasses.replace` with sections: ``changed(config, loss={"align": 0})``."""
    values = {
        name: dataclasses.replace(getattr(config, name), **value) if isinstance(value, dict) else value
        for name, value in changes.items()
    }
    return dataclasses.replace(config, **values)


def item_table(
    titles: Sequence[str],
    categories: Sequence[Sequence[str]] | None = None,
    content: np.ndarray | None = None,
    interaction_count: Sequence[int] | None = None,
    target_count: Sequence[int] | None = None,
    recent_count: npt.NDArray[np.int64] | None = None,
    ids: Sequence[str] | None = None,
) -> ItemTable:
    """A catalogue without descriptions; by default without categories and content, each item engaged once."""
    number = len(titles)
    return ItemTable(
        ids=list(ids) if ids is not None else [f"i{row:03d}" for row in range(number)],
        titles=list(titles),
        descriptions=[""] * number,
        categories=[tuple(names) for names in categories] if categories is not None else [()] * number,
        content_vectors=np.zeros((number, 1), np.float32) if content is None else content.astype(np.float32),
        interaction_count=np.array(interaction_count if interaction_count is not None else [1] * number, np.int64),
        target_count=np.array(target_count if target_count is not None else [0] * number, np.int64),
        recent_count=np.zeros((number, 3), np.int64) if recent_count is None else recent_count,
    )


def write_examples(
    directory: Path,
    items: ItemTable,
    events: Sequence[Event],
    eval_events: Sequence[Event],
    *,
    validation_events: Sequence[Event] | None = None,
    users: Sequence[int] | None = None,
    validation_users: Sequence[int] | None = None,
    eval_users: Sequence[int] | None = None,
    block: int = 7,
    shards: int = 2,
    weight: float = 1.0,
    annotations: Sequence[Annotation] = (),
) -> Path:
    """Writes items, events in blocks of ``block``, and triggers of validation (by default those of eval) and eval.

    The k-th pair of an event weighs weight**k. The numbers of the events' users are by default 0, 1, ... in each list;
    they are read back as they are where there is one shard, and otherwise made unique over the shards.
    Annotations are in order and go into one file.
    """
    validation_events = eval_events if validation_events is None else validation_events

    def columns(part: Sequence[tuple[Event, int]]):
        return {
            "trigger": np.array([trigger for (trigger, _), _ in part], np.int64),
            "user": np.array([user for _, user in part], np.int64),
            "targets_of_trigger": np.array([len(targets) for (_, targets), _ in part], np.int64),
            "target": np.array([target for (_, targets), _ in part for target in targets], np.int64),
        }

    def blocks(part: Sequence[Event], numbers: Sequence[int] | None, shard: int):
        both = list(zip(part, range(len(part)) if numbers is None else numbers, strict=True))
        whole = [both[start : start + block] for start in range(0, len(both), block)]
        return whole[shard::shards]

    rows = [
        Item(items.ids[row], items.titles[row], items.descriptions[row], items.categories[row], None)
        for row in range(len(items))
    ]
    counts = items.interaction_count, items.target_count, items.recent_count
    files = [write_items(str(directory), 0, 1, 0, rows, items.content_vectors, *counts)]
    for shard in range(shards):
        pairs = [
            Pairs(
                **columns(part), weight=np.array([weight**k for (_, ts), _ in part for k in range(len(ts))], np.float32)
            )
            for part in blocks(events, users, shard)
        ]
        files.append(write_pairs(str(directory), shard, shards, pairs))
        for kind, listed, numbers in (
            (VALIDATION, validation_events, validation_users),
            (EVAL, eval_events, eval_users),
        ):
            triggers = [Triggers(**columns(part)) for part in blocks(listed, numbers, shard)]
            files.append(write_triggers(str(directory), kind, shard, shards, triggers))
    if annotations:
        files.append(write_annotations(str(directory), 0, 1, annotation_columns(annotations)))
    count = TableCounts(1, 1, {}, {}, {})
    manifest = Manifest(
        layout_version=LAYOUT_VERSION,
        interactions=count,
        items=count,
        annotations=TableCounts(len(annotations), len(annotations), {}, {}, {}),
        num_items=len(items),
        num_pairs=sum(len(targets) for _, targets in events),
        num_validation_triggers=len(validation_events),
        num_triggers=len(eval_events),
        num_users=1,
        num_annotations=len(annotations),
        content_dimension=items.content_vectors.shape[1],
        validation_time=0.0,
        split_time=0.0,
        files=tuple(sorted(files, key=lambda file: file.path)),
        config={},
    )
    save_manifest(manifest, str(directory))
    return directory


def checkerboard_items(number: int = 16) -> ItemTable:
    """Items in two topics, the fields of a checkerboard: even ones black, odd ones white; the teacher tells them."""
    topic = np.arange(number) % 2
    content = np.random.default_rng(5).normal(size=(number, 6)) * 0.2
    content[np.arange(number), topic] += 1.0
    content /= np.linalg.norm(content, axis=1, keepdims=True)
    names = ["black", "white"]
    return item_table(
        [f"{names[t]} field {i}" for i, t in enumerate(topic)],
        [[names[t], "fields"] for t in topic],
        content,
        interaction_count=[20 + i for i in range(number)],
    )


def checkerboard_events(number: int = 16, events: int = 240, seed: int = 0) -> list[Event]:
    """Users stay inside a topic: each trigger is followed by one to three other items of its colour."""
    rng = np.random.default_rng(seed)
    result = []
    for _ in range(events):
        trigger = int(rng.integers(number))
        others = [item for item in range(trigger % 2, number, 2) if item != trigger]
        result.append((trigger, rng.choice(others, int(rng.integers(1, 4)), replace=False).tolist()))
    return result


def write_checkerboard(directory: Path) -> Path:
    items, events = checkerboard_items(), checkerboard_events()
    targets = [target for _, followers in events for target in followers]
    items = dataclasses.replace(items, target_count=np.bincount(targets, minlength=len(items)))
    return write_examples(directory, items, events, checkerboard_events(events=40, seed=1))


def small_catalogue(items: ItemTable, model: ModelConfig = SMALL_MODEL) -> Catalogue:
    return build_catalogue(items, buckets=model.text_buckets, tokens=model.text_tokens)


def eval_triggers(events: Sequence[Event], users: Sequence[int] | None = None) -> EvalTriggers:
    return EvalTriggers(
        trigger=np.array([trigger for trigger, _ in events], np.int64),
        user=np.array(range(len(events)) if users is None else users, np.int64),
        target=np.array([target for _, targets in events for target in targets], np.int64),
        row_splits=np.concatenate([[0], np.cumsum([len(targets) for _, targets in events])]).astype(np.int64),
    )


def annotation_columns(annotations: Sequence[Annotation]) -> Annotations:
    return Annotations(
        trigger=np.array([trigger for trigger, _, _, _ in annotations], np.int64),
        item=np.array([item for _, item, _, _ in annotations], np.int64),
        grade=np.array([grade for _, _, grade, _ in annotations], np.float32),
        held_out=np.array([held_out for _, _, _, held_out in annotations], np.bool_),
    )


ALL_FEATURES = FeaturesConfig()


def pair_summary(number: int, counts: Mapping[tuple[int, int], int]) -> PairSummary:
    """What is known of N items from {(trigger, target): count}."""
    pairs = sorted(counts)
    return PairSummary(
        num_triggers=len(pairs),
        num_pairs=sum(counts.values()),
        most_targets=1,
        late_weight=1.0,
        target_count=np.bincount([target for _, target in pairs], minlength=number),
        row_count=np.bincount([item for pair in pairs for item in pair], minlength=number),
        known_row_splits=np.searchsorted([trigger for trigger, _ in pairs], np.arange(number + 1)).astype(np.int64),
        known_values=np.array([target for _, target in pairs], np.int32),
        known_counts=np.array([counts[pair] for pair in pairs], np.int64),
        known_weights=np.array([counts[pair] for pair in pairs], float),
    )
