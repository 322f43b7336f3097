# mypy: allow-untyped-calls
"""The last step: the manifest, or the mistake that stands in its way."""

import contextlib
import dataclasses
import datetime
import json
import os
from collections.abc import Iterator, Sequence
from typing import Any, Final

import apache_beam as beam

from preprocessing.annotation_steps import AnnotationsResult
from preprocessing.dead_letters import Account, write_faults
from preprocessing.errors import UserError
from preprocessing.files import exists, read_text, write_text
from preprocessing.interaction_steps import PairsResult
from preprocessing.job import Job
from preprocessing.manifest import load_manifest, save_manifest
from preprocessing.mistakes import Mistake, first_mistake, lasting_fault
from preprocessing.schema import LAYOUT_VERSION, MANIFEST, Manifest, OutputFile, TableCounts
from preprocessing.sources import ANNOTATION_TABLE, INTERACTIONS, ITEM_TABLE
from preprocessing.split import Split

_MISTAKE: Final = "mistake.json"
WrittenItems = tuple[OutputFile, int]
"""A file of items and the dimension of its vectors."""


class Finish(beam.DoFn):
    """Writes the manifest when everything that it lists has been written, or else the first mistake."""

    def __init__(self, job: Job):
        """Takes the job."""
        self._job = job

    def process(
        self,
        _: Any,
        items: Account | Mistake,
        interactions: Account | Mistake,
        annotations: Account | Mistake,
        pairs: Sequence[PairsResult | Mistake],
        item_files: Sequence[WrittenItems | Mistake],
        graded: Sequence[AnnotationsResult | Mistake],
        split: Split | Mistake,
    ) -> Iterator[Manifest]:
        """Yields the manifest, if there is one."""
        mistake = (
            first_mistake([items])
            or first_mistake([interactions])
            or first_mistake([annotations])
            or first_mistake([split])
            or first_mistake([*pairs, *item_files, *graded])
        )
        if mistake is None:
            try:
                manifest = self._manifest(items, interactions, annotations, pairs, item_files, graded, split)  # type: ignore[arg-type]
                save_manifest(manifest, self._job.directory)
                yield manifest
                return
            except OSError as error:
                mistake = lasting_fault(error, self._job.rejected)
        # On a full disk not even this can be written; then there is no manifest, which says enough.
        with contextlib.suppress(OSError):
            write_text(f"{self._job.directory}/{_MISTAKE}", json.dumps(mistake.message))

    def _manifest(
        self,
        items: Account,
        interactions: Account,
        annotations: Account,
        pairs: Sequence[PairsResult],
        item_files: Sequence[WrittenItems],
        graded: Sequence[AnnotationsResult],
        split: Split,
    ) -> Manifest:
        faults = [
            (table, path, fault)
            for table, account in (
                (INTERACTIONS, interactions),
                (ITEM_TABLE, items),
                (ANNOTATION_TABLE, annotations),
            )
            for path, fault in account.faults
        ]
        files = [
            *items.files,
            *interactions.files,
            *annotations.files,
            *write_faults(self._job.directory, faults),
            *(file for file, _ in item_files),
            *(file for result in pairs for file in result.files),
            *(result.file for result in graded),
        ]
        dropped = {
            "repeat": sum(result.repeats for result in pairs),
            "user_cap": sum(result.capped for result in pairs),
        }
        return Manifest(
            layout_version=LAYOUT_VERSION,
            interactions=_table(interactions, sum(result.rows_used for result in pairs), dropped),
            items=_table(items, items.good, {}),
            annotations=_table(annotations, sum(result.rows_used for result in graded), {}),
            num_items=items.good,
            num_pairs=sum(result.num_pairs for result in pairs),
            num_validation_triggers=sum(result.num_validation_triggers for result in pairs),
            num_triggers=sum(result.num_triggers for result in pairs),
            num_users=sum(result.num_users for result in pairs),
            num_annotations=sum(result.num_annotations for result in graded),
            content_dimension=max(dimension for _, dimension in item_files),
            validation_time=split.validation_time,
            split_time=split.split_time,
            files=tuple(sorted(files, key=lambda file: file.path)),
            config=dataclasses.asdict(self._job.config),
        )


def load_result(directory: str) -> Manifest:
    """The manifest that ``Finish`` has written.

    Raises:
      UserError: it has written a mistake instead, or nothing that could be trained and evaluated came out.
    """
    mistake = f"{directory}/{_MISTAKE}"
    if exists(mistake):
        raise UserError(str(json.loads(read_text(mistake))))
    if not exists(f"{directory}/{MANIFEST}"):
        parent = os.path.dirname(directory) or "."
        raise UserError(
            f"the run ended without a {MANIFEST} below {parent}: check that it has free space, "
            "and that Beam's workers and this machine share it"
        )
    manifest = load_manifest(directory)
    for table in (manifest.interactions, manifest.items, manifest.annotations):
        accounted = table.rows_used + sum(table.dead_letters.values()) + sum(table.dropped.values())
        if accounted != table.rows_in:
            raise RuntimeError(f"{table.rows_in} rows were read, {accounted} are accounted for: {table}")
    split = _shown_time(manifest.split_time)
    if not manifest.num_pairs:
        raise UserError(
            f"no training pair comes of {manifest.interactions.rows_used:,} rows of {manifest.num_users:,} users: "
            f"before the split at {split} no user engages with two items within reach; "
            "check that user ids repeat, pairs.max_seconds, input.session_gap_seconds, split.time and "
            "split.validation_users"
        )
    if not manifest.num_triggers:
        raise UserError(
            f"no eval trigger comes of the rows from the split at {split} on, so nothing could be "
            "evaluated; choose an earlier split: split.quantile or split.time"
        )
    return manifest


def _shown_time(seconds: float) -> str:
    moment = datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)
    return f"{seconds:.0f} ({moment:%Y-%m-%d %H:%M:%S} UTC)"


def _table(account: Account, used: int, dropped: dict[str, int]) -> TableCounts:
    faults: dict[str, int] = {}
    for _, fault in account.faults:
        faults[fault.reason] = faults.get(fault.reason, 0) + 1
    return TableCounts(
        rows_in=account.rows_in,
        rows_used=used,
        dead_letters=dict(account.dead),
        dropped={**account.dropped, **{rule: count for rule, count in dropped.items() if count}},
        bad_files=faults,
    )
