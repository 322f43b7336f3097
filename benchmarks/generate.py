"""Realistic logs and catalogues of any size, drawn from a seed and written chunk by chunk.

``python -m benchmarks.generate --interactions 1e6 --items 1e5 --output DIR [--seed 0] [--format parquet]``

Every item has a topic, and a rank in it that its popularity follows (Zipf). A topic has its own words, some of them
shared with the topics beside it; titles are drawn from them. A session is somebody's who has a few favourite topics: it
stays in a topic or goes to the one beside it, takes what is popular there, or one of the few items that follow the last
one, which no text tells. So text and behaviour share the topics, and each knows something that the other doesn't.

The log is in the order of time, but for sessions that overlap the border of two blocks. Each block of
interactions and of items is drawn from the seed and its own number, so the rows do not depend on how they are cut into
files, and memory is that of one block.
"""

import argparse
import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet
from numpy.typing import NDArray

BLOCK: Final = 1 << 16
"""Interactions, or items, that are drawn at a time."""
_BEGIN: Final = 1_700_000_000
_DAYS: Final = 180
_SESSION: Final = 7.0
_LONGEST: Final = 40
_PAUSE: Final = 60.0
_STAY: Final = 0.85
_FOLLOW: Final = 0.45
_FOLLOWERS: Final = 6
_FAVOURITES: Final = 3
_POPULAR: Final = 1.05
_ACTIVE: Final = 0.6
_WORDS: Final = 60
_SHARED: Final = 20
_COMMON: Final = 200
_SYLLABLES: Final = [a + b for a in "bdfgklmnprstvz" for b in ("a", "e", "i", "o", "u", "an", "el", "or")]


@dataclasses.dataclass(frozen=True)
class World:
    """What a log is drawn from.

    Attributes:
      interactions, items, users: numbers of each.
      seed: of everything.
    """

    interactions: int
    items: int
    users: int
    seed: int = 0

    @property
    def topics(self) -> int:
        """Number of topics: the more items, the finer."""
        return max(1, min(self.items // 8, round(2 * math.sqrt(self.items))))

    def interaction_blocks(self) -> Iterator[pa.Table]:
        """The log: ``user_id``, ``session_id``, ``item_id``, ``timestamp``, `BLOCK` rows at a time."""
        blocks = math.ceil(self.interactions / BLOCK)
        for block in range(blocks):
            rows = min(BLOCK, self.interactions - block * BLOCK)
            yield self._block(block, _DAYS * 86_400 * block / blocks, _DAYS * 86_400 / blocks).slice(0, rows)

    def item_blocks(self) -> Iterator[pa.Table]:
        """The catalogue: ``item_id``, ``title``, ``categories``, `BLOCK` rows at a time."""
        for begin in range(0, self.items, BLOCK):
            item = np.arange(begin, min(begin + BLOCK, self.items))
            topic = item % self.topics
            categories = _join([_named("area", topic // 12), _named("topic", topic)], "|")
            table = {"item_id": self._item_ids(item), "title": self._titles(item, topic), "categories": categories}
            yield pa.table(table)

    def _block(self, block: int, begin: float, seconds: float) -> pa.Table:
        rng = np.random.default_rng([self.seed, 1, block])
        lengths = np.minimum(rng.geometric(1.0 / _SESSION, BLOCK), _LONGEST)
        sessions = int(np.searchsorted(np.cumsum(lengths), BLOCK)) + 1
        lengths = lengths[:sessions]
        # Some people come often: the density of a user falls with a power of the number.
        user = (self.users * rng.random(sessions) ** (1.0 / (1.0 - _ACTIVE))).astype(np.int64)
        items = self._walks(rng, user, int(lengths.max()))
        start = begin + seconds * np.sort(rng.random(sessions))
        steps = rng.exponential(_PAUSE, items.shape)
        steps[:, 0] = 0.0
        times = start[:, np.newaxis] + np.cumsum(steps, axis=1)
        real = np.arange(items.shape[1]) < lengths[:, np.newaxis]
        row = np.broadcast_to(np.arange(sessions)[:, np.newaxis], real.shape)[real]
        seconds_of_row = times[real]
        # What is cut off are whole ends of the last sessions, before the rows are put in order.
        order = np.argsort(seconds_of_row[:BLOCK], kind="stable")
        row = row[:BLOCK][order]
        return pa.table(
            {
                "user_id": _named("u", user[row]),
                "session_id": _named("s", block * BLOCK + row),
                "item_id": self._item_ids(items[real][:BLOCK][order]),
                "timestamp": _BEGIN + seconds_of_row[:BLOCK][order].astype(np.int64),
            }
        )

    def _walks(self, rng: np.random.Generator, user: NDArray[np.int64], length: int) -> NDArray[np.int64]:
        """What is looked at in sessions of the given users, int64 [n, length]."""
        count = len(user)
        # A user's favourites depend on nothing but the user; popular topics are more people's.
        favourite = _hashed(user * _FAVOURITES + rng.integers(0, _FAVOURITES, count), self.seed)
        topic = _zipf(_uniform(favourite), np.full(count, self.topics))
        item = self._popular(rng, topic)
        walk = [item]
        for _ in range(1, length):
            away = rng.random(count) >= _STAY
            topic = np.where(away, (topic + rng.integers(1, 3, count)) % self.topics, item % self.topics)
            follows = ~away & (rng.random(count) < _FOLLOW)
            mark = _hashed(item * _FOLLOWERS + rng.integers(0, _FOLLOWERS, count), self.seed + 1)
            follower = self._of_topic(topic, _uniform(mark))
            item = np.where(follows, follower, self._popular(rng, topic))
            walk.append(item)
        return np.stack(walk, axis=1)

    def _popular(self, rng: np.random.Generator, topic: NDArray[np.int64]) -> NDArray[np.int64]:
        return self._of_topic(topic, rng.random(len(topic)))

    def _of_topic(self, topic: NDArray[np.int64], share: NDArray[np.float64]) -> NDArray[np.int64]:
        """The item of a topic that stands at ``share`` of its popularity: topics take turns in the items' numbers."""
        size = (self.items - 1 - topic) // self.topics + 1
        return _zipf(share, size) * self.topics + topic

    def _item_ids(self, item: NDArray[np.int64]) -> pa.Array:
        """Ids whose order says nothing of popularity or topic: numbers times one that shares no factor with theirs."""
        factor = round(0.618 * self.items) | 1
        while math.gcd(factor, self.items) > 1:
            factor += 2
        return _named("i", item * factor % self.items)

    def _titles(self, item: NDArray[np.int64], topic: NDArray[np.int64]) -> pa.Array:
        vocabulary = pa.array(_words(self.topics * (_WORDS - _SHARED) + _WORDS + _COMMON))
        columns = []
        for place in range(5):
            share = _uniform(_hashed(item * 8 + place, self.seed + 2))
            if place in (1, 4):
                columns.append(_zipf(share, np.full(len(item), _COMMON)))
            else:
                columns.append(_COMMON + topic * (_WORDS - _SHARED) + (share * _WORDS).astype(np.int64))
        return _join([vocabulary.take(pa.array(column)) for column in columns], " ")


def _zipf(share: NDArray[np.float64], size: NDArray[np.int64]) -> NDArray[np.int64]:
    """Ranks 0 to ``size - 1`` by a Zipf law, at the given shares of it (the inverse of its continuous distribution)."""
    power = 1.0 - _POPULAR
    rank = (1.0 + share * ((size + 1.0) ** power - 1.0)) ** (1.0 / power) - 1.0
    return np.minimum(rank.astype(np.int64), size - 1)


def _hashed(value: NDArray[np.int64], seed: int) -> NDArray[np.uint64]:
    """SplitMix64 of numbers."""
    mixed = value.astype(np.uint64) + np.uint64((seed + 1) * 0x9E3779B97F4A7C15 % 2**64)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def _uniform(mixed: NDArray[np.uint64]) -> NDArray[np.float64]:
    return (mixed >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _named(prefix: str, number: NDArray[np.int64]) -> pa.Array:
    return pc.binary_join_element_wise(pa.scalar(prefix), pa.array(number).cast(pa.string()), pa.scalar(""))


def _join(columns: list[Any], between: str) -> pa.Array:
    return pc.binary_join_element_wise(*columns, pa.scalar(between))


def _words(count: int) -> list[str]:
    """Distinct words that can be spoken."""
    base = len(_SYLLABLES)
    words = []
    for number in range(count):
        number, first = divmod(number + base, base)
        word = _SYLLABLES[first]
        while number:
            number, syllable = divmod(number, base)
            word += _SYLLABLES[syllable]
        words.append(word)
    return words


class Files:
    """Writes tables one after another to numbered files of a bounded number of rows."""

    def __init__(self, directory: Path, stem: str, suffix: str, rows: int):
        """Args are the directory, the files' stem, ``csv`` or ``parquet``, and the rows of a file."""
        self._directory, self._stem, self._suffix, self._rows = directory, stem, suffix, rows
        self._writer: Any = None
        self._left = self._number = 0

    def write(self, table: pa.Table) -> None:
        """Appends a table."""
        while table.num_rows:
            if not self._left:
                self.close()
                self._writer = self._open(table.schema)
                self._left = self._rows
            part = table.slice(0, self._left)
            self._writer.write_table(part)
            self._left -= part.num_rows
            table = table.slice(part.num_rows)

    def close(self) -> None:
        """Ends the last file."""
        if self._writer is not None:
            self._writer.close()

    def _open(self, schema: pa.Schema) -> Any:
        path = self._directory / f"{self._stem}-{self._number:05d}.{self._suffix}"
        self._number += 1
        if self._suffix == "parquet":
            return pa.parquet.ParquetWriter(path, schema)
        return _CsvWriter(path, schema)


class _CsvWriter:
    """Plain CSV: pyarrow's own would put quotes around every text, which readers have a slower way for."""

    def __init__(self, path: Path, schema: pa.Schema):
        self._stream = open(path, "wb")  # noqa: SIM115 `close` ends it
        self._stream.write(",".join(schema.names).encode() + b"\n")

    def write_table(self, table: pa.Table) -> None:
        """Appends rows; no field holds a comma or a quote."""
        for batch in table.to_batches():
            columns = [column.cast(pa.string()) for column in batch.columns]
            lines = _join([_join(columns, ","), pa.scalar("\n")], "")
            _, offsets, data = lines.buffers()
            ends = np.frombuffer(offsets, np.int32, len(lines) + 1, lines.offset * 4)
            self._stream.write(memoryview(data)[ends[0] : ends[-1]])

    def close(self) -> None:
        """Ends the file."""
        self._stream.close()


def generate(world: World, directory: Path, suffix: str = "csv", file_rows: int = 5_000_000) -> None:
    """Writes ``interactions-*`` and ``items-*`` files.

    Raises:
      FileExistsError: there are such files already; a pattern would take them for this world's.
    """
    tables = {"interactions": world.interaction_blocks(), "items": world.item_blocks()}
    for stem in tables:
        if earlier := sorted(directory.glob(f"{stem}-*")):
            raise FileExistsError(f"{earlier[0]} is there already; remove it and its like, or name another directory")
    directory.mkdir(parents=True, exist_ok=True)
    for stem, blocks in tables.items():
        files = Files(directory, stem, suffix, file_rows)
        for table in blocks:
            files.write(table)
        files.close()


def number(text: str) -> int:
    """A count written as ``1000000`` or ``1e6``."""
    value = float(text)
    if not (value >= 1 and value.is_integer()):
        raise argparse.ArgumentTypeError(f"{text} is no count; expected a whole number of 1 or more")
    return int(value)


def main() -> None:
    """Draws a log and a catalogue and writes both."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.generate", description=main.__doc__)
    parser.add_argument("--interactions", type=number, default=1_000_000)
    parser.add_argument("--items", type=number, default=100_000)
    parser.add_argument("--users", type=number, help="by default one for 40 interactions")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--format", choices=("csv", "parquet"), default="csv")
    parser.add_argument("--file-rows", type=number, default=5_000_000)
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    users = arguments.users or max(1, arguments.interactions // 40)
    world = World(arguments.interactions, arguments.items, users, arguments.seed)
    try:
        generate(world, arguments.output, arguments.format, arguments.file_rows)
    except FileExistsError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
