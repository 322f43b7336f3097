"""The examples in figures, for the report: accounts of the tables, sizes, times, slices."""

import dataclasses
import datetime
from typing import TYPE_CHECKING, Final

import numpy as np

from preprocessing.schema import Manifest, TableCounts
from tfx_pipeline.sheets import Sheet
from trainer import slices

if TYPE_CHECKING:
    from preprocessing.read import EvalTriggers, ItemTable

_TABLES: Final = ("interactions", "items", "annotations")


@dataclasses.dataclass(frozen=True)
class Share:
    """A part of a whole: its name, size, and share in percent."""

    name: str
    size: int
    percent: float


@dataclasses.dataclass(frozen=True)
class DataSummary:
    """What the page says of the examples.

    Attributes:
      facts: names and values.
      accounts: rows of each table: read, used, dropped, dead letters.
      losses: dropped and dead rows, and bad files, by table and reason.
      slices: items, triggers, pairs in each slice.
      bars: what the accounts and slices show as bars: a title and its parts.
    """

    facts: tuple[tuple[str, str], ...]
    accounts: Sheet
    losses: Sheet
    slices: Sheet
    bars: tuple[tuple[str, tuple[Share, ...]], ...]


def summarise(manifest: Manifest, items: "ItemTable", triggers: "EvalTriggers") -> DataSummary:
    """Figures of the manifest, and slices by the items' counts."""
    tables = {name: getattr(manifest, name) for name in _TABLES}
    read = {name: table for name, table in tables.items() if table.rows_in or name != "annotations"}
    by_slice = _slice_sizes(items, triggers)
    facts = (
        ("items", f"{manifest.num_items:,}"),
        ("users", f"{manifest.num_users:,}"),
        ("training pairs", f"{manifest.num_pairs:,}"),
        ("validation triggers", f"{manifest.num_validation_triggers:,}"),
        ("triggers after the split", f"{manifest.num_triggers:,}"),
        ("annotated pairs", f"{manifest.num_annotations:,}"),
        ("teacher's dimension", f"{manifest.content_dimension:,}"),
        ("validation slice from", utc(manifest.validation_time)),
        ("split: evaluation from", utc(manifest.split_time)),
    )
    accounts = tuple(
        (name, *(f"{size:,}" for size in (table.rows_in, table.rows_used, _total(table.dropped), _dead(table))))
        for name, table in read.items()
    )
    losses = tuple(
        (name, fate, reason.replace("_", " "), f"{size:,}")
        for name, table in tables.items()
        for fate, sizes in (
            ("dropped by rule", table.dropped), ("dead letter", table.dead_letters), ("bad file", table.bad_files),
        )
        for reason, size in sorted(sizes.items(), key=lambda pair: (-pair[1], pair[0]))
    )  # fmt: skip
    bars = [
        (f"rows of {name}", {"used": table.rows_used, "dropped": _total(table.dropped), "dead letters": _dead(table)})
        for name, table in read.items()
    ]
    for place, what in enumerate(("items", "triggers after the split")):
        bars.append((what, {name: sizes[place] for name, sizes in by_slice.items()}))
    return DataSummary(
        facts=facts,
        accounts=Sheet("rows of the tables", ("table", "read", "used", "dropped", "dead letters"), accounts),
        losses=Sheet("rows left out, by reason", ("table", "what became of them", "reason", "number"), losses, (), 3),
        slices=Sheet(
            "sizes of the slices",
            ("slice", "items", "triggers", "pairs"),
            tuple((name, *(f"{size:,}" for size in sizes)) for name, sizes in by_slice.items()),
            (
                "head: the most engaged items that make half of all interactions; torso: the next 30 %; tail: the "
                "others; cold: unseen in training; a pair is in its trigger's slice, and in cold where either is cold",
            ),
        ),
        bars=tuple((title, _shares(sizes)) for title, sizes in bars),
    )


def _slice_sizes(items: "ItemTable", triggers: "EvalTriggers") -> dict[str, tuple[int, int, int]]:
    """Items, trigger occasions and pairs, see `trainer.slices`."""
    place = slices.item_slices(items.interaction_count)
    cold = slices.SLICES.index(slices.COLD)
    of_trigger = place[triggers.trigger]
    of_pair = np.repeat(of_trigger, np.diff(triggers.row_splits))
    of_pair = np.where(place[triggers.target] == cold, cold, of_pair)
    return {
        name: (int((place == number).sum()), int((of_trigger == number).sum()), int((of_pair == number).sum()))
        for number, name in enumerate(slices.SLICES)
    }


def _shares(sizes: dict[str, int]) -> tuple[Share, ...]:
    whole = max(1, sum(sizes.values()))
    return tuple(Share(name, size, 100.0 * size / whole) for name, size in sizes.items())


def _total(sizes: dict[str, int]) -> int:
    return sum(sizes.values())


def _dead(table: TableCounts) -> int:
    return _total(table.dead_letters)


def utc(seconds: float) -> str:
    """Unix seconds as a date and time; as a number where no calendar has them."""
    try:
        return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    except (OverflowError, ValueError, OSError):
        return f"{seconds:g}"
