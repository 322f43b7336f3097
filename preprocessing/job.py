# mypy: allow-untyped-calls
"""What all steps of the pipeline share."""

import dataclasses
from typing import Final

from apache_beam.metrics.metric import Metrics

from preprocessing.config import PreprocessingConfig
from preprocessing.dead_letters import Account

ACCOUNT: Final = "account"
NAMESPACE: Final = "mtmh.preprocessing"
"""Of Beam's counters; they are for a runner's dashboard, the manifest counts for itself."""
PROGRESS_SECONDS: Final = 10.0


@dataclasses.dataclass(frozen=True)
class Job:
    """What every step knows: the configuration, where to write, where dead letters will be found, how many shards."""

    config: PreprocessingConfig
    directory: str
    rejected: str
    shards: int

    def item_bounds(self, number: int) -> list[int]:
        """Bounds of the shards of ``number`` items: shard s has the indices from the s-th up to the next."""
        return [shard * number // self.shards for shard in range(self.shards + 1)]


def count_metrics(table: str, account: Account) -> None:
    """Adds an account to Beam's counters."""
    Metrics.counter(NAMESPACE, f"{table}.rows_in").inc(account.rows_in)
    for kind, counts in (("dead_letter", account.dead), ("dropped", account.dropped)):
        for name, count in counts.items():
            Metrics.counter(NAMESPACE, f"{table}.{kind}.{name}").inc(count)
