"""Makes a log and a catalogue of which Debian packages are needed together: real choices, and no shop's.

``python -m benchmarks.debian_dependencies --packages Packages.xz --sources Sources.xz --output LOG.csv
--output-items ITEMS.csv [--mixed 3]``

The two indexes are those of a Debian archive (``dists/bookworm/main/binary-amd64/Packages.xz`` and
``dists/bookworm/main/source/Sources.xz``). A user is a source package; its rows are the packages that it or what is
built from it depends on, an item's title is its short description, its categories are its debtags. What most packages
need says nothing of one, and what hardly any needs can't be learnt: items of more than 300 users are left out, and
those of fewer than four and users with fewer than four rows, until none is left. Of a user there are 50 rows at most.
The archive knows no order and no times: a seed gives each user a stretch of two years, and its rows an order and times
in it.

With ``--mixed M`` every user has a part of the rows of M packages in turn, as people buy for more than one purpose: the
same number of rows, and one neighbour in M that tells something.
"""

import argparse
import csv
import itertools
import lzma
import random
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

_MOST_USERS, _FEWEST, _MOST_ROWS = 300, 4, 50
_BEGIN, _SECONDS, _STRETCH = 1_400_000_000, 2 * 365 * 86_400, 0.1
_NAME = re.compile(r"\s*([a-z0-9][a-z0-9+.-]+)")

Histories = dict[str, list[str]]


def stanzas(path: Path) -> Iterator[dict[str, str]]:
    """The fields of each paragraph of a control file; lines that go on are joined by blanks."""
    fields: dict[str, str] = {}
    name = ""
    with lzma.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            if not line.strip():
                if fields:
                    yield fields
                fields = {}
            elif line[0].isspace():
                fields[name] += f" {line.strip()}"
            else:
                name, _, value = line.partition(":")
                fields[name] = value.strip()
    if fields:
        yield fields


def dependencies(field: str) -> list[str]:
    """Names in a field of relations, of alternatives the first."""
    return [found[1] for found in map(_NAME.match, field.split(",")) if found]


def read_archive(packages: Path, sources: Path) -> tuple[dict[str, tuple[str, str]], Histories]:
    """(title, categories) of each package, and which packages each source needs."""
    items, source_of, needs = {}, {}, {}
    for fields in stanzas(packages):
        name = fields["Package"]
        tags = fields.get("Tag", "").replace(", ", "|") or f"section::{fields.get('Section', '')}"
        items[name] = (fields.get("Description", ""), tags)
        source_of[name] = fields.get("Source", name).split()[0]
        needs[name] = dependencies(fields.get("Depends", ""))
    histories: Histories = {}
    for fields in stanzas(sources):
        needed = dependencies(fields.get("Build-Depends", "")) + dependencies(fields.get("Build-Depends-Indep", ""))
        histories.setdefault(fields["Package"], []).extend(needed)
    for name, needed in needs.items():
        own = source_of[name]
        histories.setdefault(own, []).extend(other for other in needed if source_of.get(other) != own)
    known = {source: list(dict.fromkeys(filter(items.__contains__, needed))) for source, needed in histories.items()}
    return items, known


def core(histories: Histories) -> Histories:
    """Without what too many or too few need, and without users of too few rows."""
    users = Counter(item for rows in histories.values() for item in rows)
    histories = {user: [item for item in rows if users[item] <= _MOST_USERS] for user, rows in histories.items()}
    while True:
        users = Counter(item for rows in histories.values() for item in rows)
        kept = {user: [item for item in rows if users[item] >= _FEWEST] for user, rows in histories.items()}
        kept = {user: rows for user, rows in kept.items() if len(rows) >= _FEWEST}
        if kept == histories:
            return kept
        histories = kept


def mix(histories: Histories, parts: int, rng: random.Random) -> Histories:
    """As many users, each with every ``parts``-th row of ``parts`` of them; an item comes once."""
    pieces = []
    for user in sorted(histories):
        rows = rng.sample(histories[user], len(histories[user]))
        pieces += [piece for piece in (rows[part::parts] for part in range(parts)) if piece]
    rng.shuffle(pieces)
    return {
        f"mixed{first // parts}": list(dict.fromkeys(itertools.chain(*pieces[first : first + parts])))
        for first in range(0, len(pieces), parts)
    }


def timed(histories: Histories, rng: random.Random) -> list[tuple[int, str, str]]:
    """(timestamp, user, item) of all rows that fall within the two years, by time."""
    rows = []
    for user in sorted(histories):
        needed = rng.sample(histories[user], min(len(histories[user]), _MOST_ROWS))
        begin, stretch = rng.random(), rng.expovariate(1 / _STRETCH)
        times = sorted(begin + stretch * rng.random() for _ in needed)
        rows += [
            (int(_BEGIN + _SECONDS * time), user, item) for time, item in zip(times, needed, strict=True) if time < 1
        ]
    return sorted(rows)


def main() -> None:
    """Reads the indexes of an archive and writes both tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.debian_dependencies", description=main.__doc__)
    parser.add_argument("--packages", type=Path, required=True)
    parser.add_argument("--sources", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--output-items", type=Path, required=True)
    parser.add_argument("--mixed", type=int, default=1, metavar="M")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    items, histories = read_archive(arguments.packages, arguments.sources)
    histories = core(histories)
    catalogue = sorted({item for rows in histories.values() for item in rows})
    rows = timed(mix(histories, arguments.mixed, rng) if arguments.mixed > 1 else histories, rng)
    with arguments.output.open("w", newline="", encoding="utf-8") as file:
        log = csv.writer(file)
        log.writerow(["user_id", "item_id", "timestamp"])
        log.writerows((user, item, time) for time, user, item in rows)
    with arguments.output_items.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["item_id", "title", "categories"])
        table.writerows((item, *items[item]) for item in catalogue)
    print(f"{len(rows)} rows of {len({row[1] for row in rows})} users, {len(catalogue)} items")


if __name__ == "__main__":
    main()
