import hashlib

import numpy as np
import pandas as pd
import pytest

from benchmarks import generate as module
from benchmarks.generate import World, generate
from preprocessing.config import PreprocessingConfig
from preprocessing.pipeline import preprocess

WORLD = World(interactions=90_000, items=3_000, users=2_000, seed=5)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    directory = tmp_path_factory.mktemp("log")
    generate(WORLD, directory)
    return directory


def text(directory, stem):
    parts = sorted(directory.glob(f"{stem}-*.csv"))
    lines = [part.read_text(encoding="utf-8").splitlines(keepends=True) for part in parts]
    return lines[0][0] + "".join(line for part in lines for line in part[1:])


def test_files_do_not_depend_on_how_they_are_cut(written, tmp_path):
    generate(WORLD, tmp_path, file_rows=7_777)
    assert len(list(tmp_path.glob("interactions-*.csv"))) == 12
    assert text(tmp_path, "interactions") == text(written, "interactions")
    assert text(tmp_path, "items") == text(written, "items")


def test_parquet_holds_the_same(written, tmp_path):
    generate(WORLD, tmp_path, "parquet")
    for stem in ("interactions", "items"):
        pd.testing.assert_frame_equal(
            pd.read_parquet(tmp_path / f"{stem}-00000.parquet"), pd.read_csv(written / f"{stem}-00000.csv")
        )


def test_seeds_differ(written, tmp_path):
    generate(World(WORLD.interactions, WORLD.items, WORLD.users, seed=6), tmp_path)
    digests = {hashlib.sha256(text(path, "interactions").encode()).hexdigest() for path in (written, tmp_path)}
    assert len(digests) == 2


def test_the_log_looks_like_one(written):
    log = pd.read_csv(written / "interactions-00000.csv")
    items = pd.read_csv(written / "items-00000.csv")
    assert len(log) == 90_000
    assert len(items) == items.item_id.nunique() == 3_000
    assert set(log.item_id) <= set(items.item_id)
    assert log.session_id.map(log.groupby("session_id").user_id.nunique()).eq(1).all()
    counts = log.item_id.value_counts()
    # A few items make up much of the log, and a long tail is rarely met.
    assert counts[:30].sum() > 0.1 * len(log)
    assert (counts <= 10).sum() > 0.2 * len(items)
    topic = log.item_id.map(items.set_index("item_id").categories)
    by_session = log.assign(topic=topic).sort_values(["session_id", "timestamp"], kind="stable")
    same_session = by_session.session_id.eq(by_session.session_id.shift())
    stays = by_session.topic.eq(by_session.topic.shift())
    chance = (topic.value_counts(normalize=True) ** 2).sum()
    assert stays[same_session].mean() > 3 * chance
    # What a title says is shared by the items of a topic more than by any two.
    words = items.title.str.split().map(set)
    of_topic = items.groupby("categories").head(2).groupby("categories").title.apply(list)
    shared = np.mean([len(set(a.split()) & set(b.split())) for a, b in (pair for pair in of_topic if len(pair) == 2)])
    anyhow = np.mean([len(a & b) for a, b in zip(words[:500], words[777:1277], strict=True)])
    assert shared > 1.5 * anyhow


def test_blocks_are_drawn_one_by_one(monkeypatch):
    """Memory is that of a block: the next one is drawn when it is asked for."""
    drawn = []
    original = World._block
    monkeypatch.setattr(World, "_block", lambda self, block, *rest: drawn.append(block) or original(self, block, *rest))
    blocks = World(10**8, 10**7, 10**6).interaction_blocks()
    assert next(blocks).num_rows == module.BLOCK
    assert drawn == [0]


def run(monkeypatch, *arguments):
    monkeypatch.setattr("sys.argv", ["generate", *map(str, arguments)])
    module.main()


@pytest.mark.parametrize("option", ["--interactions", "--items", "--users", "--file-rows"])
@pytest.mark.parametrize("value", ["0", "-3", "1.5", "inf", "nan", "some"])
def test_counts_are_whole_numbers_above_zero(monkeypatch, tmp_path, capsys, option, value):
    with pytest.raises(SystemExit, match="2"):
        run(monkeypatch, f"{option}={value}", "--output", tmp_path / "log")
    assert f"argument {option}: " in capsys.readouterr().err
    assert not (tmp_path / "log").exists()


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_files_of_another_log_are_not_mixed_in(monkeypatch, tmp_path, capsys, suffix):
    sizes = ["--interactions", "4e3", "--items", "100", "--file-rows", "1000", "--output", tmp_path]
    run(monkeypatch, *sizes)
    whole = text(tmp_path, "interactions")
    with pytest.raises(SystemExit, match="2"):
        run(monkeypatch, *sizes, "--interactions", "2000", "--format", suffix)
    assert "interactions-00000.csv is there already" in capsys.readouterr().err
    assert text(tmp_path, "interactions") == whole


@pytest.mark.slow
def test_the_preprocessing_takes_it(written, tmp_path):
    manifest = preprocess(
        PreprocessingConfig(),
        [str(written / "interactions-*.csv")],
        [str(written / "items-*.csv")],
        str(tmp_path / "examples"),
    )
    assert manifest.interactions.rows_in == 90_000
    assert not manifest.interactions.dead_letters
    assert not manifest.items.dead_letters
    assert manifest.num_pairs > 90_000
