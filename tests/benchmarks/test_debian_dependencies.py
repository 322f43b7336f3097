"""A log of which packages are needed together, made from the indexes of an archive."""

import csv
import lzma
import random
from collections import Counter

import pytest

from benchmarks import debian_dependencies
from benchmarks.debian_dependencies import core, dependencies, mix, read_archive, timed

PACKAGES = """\
Package: liba-dev
Source: a (1.2)
Depends: liba1 (= 1.2), libc6-dev | libc-dev
Description: the library A, for developers
Tag: devel::library, devel::lang:c,
 role::devel-lib

Package: liba1
Source: a
Depends: libc6 (>= 2.3)
Description: the library A
Section: libs

Package: libc6
Description: the C library
Section: libs

Package: tool
Depends: liba1, libc6, missing
Description: a tool
Section: utils
"""
SOURCES = """\
Package: tool
Build-Depends: liba-dev (>= 1), libc6 <!nocheck>,
 missing-too
Build-Depends-Indep: liba1

Package: a
Build-Depends: libc6
"""


@pytest.fixture
def archive(tmp_path):
    for name, text in (("Packages.xz", PACKAGES), ("Sources.xz", SOURCES)):
        (tmp_path / name).write_bytes(lzma.compress(text.encode()))
    return tmp_path / "Packages.xz", tmp_path / "Sources.xz"


def test_a_source_needs_what_it_and_its_packages_depend_on(archive):
    items, histories = read_archive(*archive)
    assert items["liba-dev"] == ("the library A, for developers", "devel::library|devel::lang:c|role::devel-lib")
    assert items["libc6"] == ("the C library", "section::libs")
    assert histories == {"tool": ["liba-dev", "libc6", "liba1"], "a": ["libc6"], "libc6": []}
    assert dependencies("libx (>= 1:2) [amd64], liby | libz, ") == ["libx", "liby"]


def test_what_is_needed_by_all_or_by_hardly_any_is_left_out():
    histories = {f"u{user}": [f"{kind}{user % 5}" for kind in "ijkl"] + ["all"] for user in range(350)}
    histories |= {"v": ["i0", "j0", "k0", "rare"], "w": ["i0", "j0", "k0", "k1", "rare"]}
    kept = core(histories)
    assert set(kept) == set(histories) - {"v"}
    assert kept["w"] == ["i0", "j0", "k0", "k1"]
    users = Counter(item for rows in kept.values() for item in rows)
    assert not {"all", "rare"} & set(users)
    assert all(4 <= count <= 300 for count in users.values())
    assert all(len(rows) >= 4 for rows in kept.values())


def test_mixed_users_have_parts_of_several():
    histories = {f"u{user}": [f"{user}-{row}" for row in range(9)] for user in range(30)}
    mixed = mix(histories, 3, random.Random(0))
    assert len(mixed) == 30
    assert sorted(item for rows in mixed.values() for item in rows) == sorted(
        item for rows in histories.values() for item in rows
    )
    sources = [len({item.split("-")[0] for item in rows}) for rows in mixed.values()]
    assert max(sources) == 3
    assert sum(sources) / len(sources) > 2.5


def test_times_lie_within_two_years_and_are_the_same_by_the_same_seed():
    histories = {f"u{user}": [f"{user}-{row}" for row in range(60)] for user in range(40)}
    rows = timed(histories, random.Random(1))
    assert rows == timed(histories, random.Random(1)) != timed(histories, random.Random(2))
    assert [row[0] for row in rows] == sorted(row[0] for row in rows)
    assert rows[0][0] >= 1_400_000_000
    assert rows[-1][0] < 1_400_000_000 + 2 * 365 * 86_400
    assert max(Counter(user for _, user, _ in rows).values()) == 50


def test_the_command_writes_both_tables(archive, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(debian_dependencies, "_FEWEST", 1)
    log, items = tmp_path / "log.csv", tmp_path / "items.csv"
    arguments = ["--packages", str(archive[0]), "--sources", str(archive[1])]
    monkeypatch.setattr("sys.argv", ["x", *arguments, "--output", str(log), "--output-items", str(items)])
    debian_dependencies.main()
    with log.open(newline="") as file:
        rows = list(csv.DictReader(file))
    with items.open(newline="") as file:
        catalogue = {row["item_id"]: row["title"] for row in csv.DictReader(file)}
    assert set(rows[0]) == {"user_id", "item_id", "timestamp"}
    assert {row["item_id"] for row in rows} <= set(catalogue) == {"liba-dev", "libc6", "liba1"}
    assert f"{len(rows)} rows" in capsys.readouterr().out
