import contextlib
import dataclasses
import os
import pathlib
import pickle
import shutil

import numpy as np
import pytest

from preprocessing import remembered, semantics, sources_hash, vector_cache
from preprocessing.catalogue import Item
from preprocessing.config import FeaturesConfig, PreprocessingConfig, TeacherConfig
from preprocessing.remembered import RememberingEncoder, lsa_teacher, onnx_teacher
from preprocessing.vector_cache import VectorCache

ROOT = pathlib.Path(__file__).resolve().parents[2]


def item(title, categories=()):
    return Item(title, title, "", tuple(categories), None)


ITEMS = [item(f"thing {i % 7} of kind {i % 5} number {i // 2}") for i in range(60)]
CONFIG = PreprocessingConfig(teacher=TeacherConfig(dimension=8))


def fitted_again(*_, **__):
    pytest.fail("it is fitted again")


class Counting:
    """An encoder that says what it was asked for."""

    dimension = 3

    def __init__(self):
        self.asked = []

    def encode(self, items):
        self.asked += [each.title for each in items]
        return np.array([[len(each.title), hash(each.title) % 97, 1] for each in items], np.float32)


@pytest.fixture
def cache(tmp_path):
    return VectorCache("kind", "print", tmp_path)


def remembering(cache, encoder, with_categories=False):
    return RememberingEncoder(cache, lambda: encoder, with_categories=with_categories)


def test_only_new_texts_are_encoded(cache):
    first, second, third = Counting(), Counting(), Counting()
    one = remembering(cache, first).encode([item("a"), item("bb"), item("a")])
    assert sorted(first.asked) == ["a", "bb"]
    two = remembering(cache, second).encode([item("ccc"), item("bb"), item("a")])
    assert second.asked == ["ccc"]
    assert np.array_equal(one[[1, 0]], two[1:])
    assert np.array_equal(remembering(cache, third).encode([item("ccc")] * 2), two[[0, 0]])
    assert third.asked == []


def test_a_changed_category_is_a_changed_text_where_it_is_read(cache):
    blind, seeing = Counting(), Counting()
    remembering(cache, blind).encode([item("a", ["x"])])
    remembering(cache, blind).encode([item("a", ["y"])])
    assert blind.asked == ["a"]
    remembering(cache, seeing, with_categories=True).encode([item("a", ["x"]), item("a", ["y"])])
    assert seeing.asked == ["a", "a"]


def test_teachers_do_not_share_vectors(tmp_path):
    encoder = Counting()
    for name in ("one", "two"):
        remembering(VectorCache("kind", name, tmp_path), encoder).encode([item("a")])
    assert encoder.asked == ["a", "a"]


class Killed(BaseException):
    pass


def test_a_run_that_is_killed_goes_on_from_there(cache, monkeypatch):
    monkeypatch.setattr(remembered, "_KEPT_AT_ONCE", 10)
    titles = [item("a" * (i + 1)) for i in range(95)]
    whole = Counting().encode(titles)
    first, second, third = Counting(), Counting(), Counting()

    def dies(items):
        if len(first.asked) == 50:
            raise Killed
        return Counting.encode(first, items)

    monkeypatch.setattr(first, "encode", dies, raising=False)
    with pytest.raises(Killed):
        remembering(cache, first).encode(titles)
    assert np.array_equal(remembering(cache, second).encode(titles), whole)
    assert sorted(first.asked + second.asked) == [each.title for each in titles]
    assert np.array_equal(remembering(cache, third).encode(titles), whole)
    assert third.asked == []


def parts(directory):
    return sorted(directory.glob("*/*.keys.npy"))


def test_files_stay_few(cache, tmp_path, monkeypatch):
    monkeypatch.setattr(vector_cache, "_MOST", 64)
    vectors = np.random.default_rng(0).normal(size=(400, 3)).astype(np.float32)
    for i in range(400):
        cache.store([f"text {i}"], vectors[i : i + 1])
    sizes = sorted(len(np.load(path)) for path in parts(tmp_path))
    assert sum(sizes) == 400
    assert sizes == [16] + [64] * 6
    assert len(list(tmp_path.glob("*/*"))) == 2 * len(sizes)
    found, known = cache.find([f"text {i}" for i in range(400)])
    assert known.all()
    assert np.array_equal(found, vectors)


def test_the_same_texts_again_stay(cache, tmp_path):
    for _ in range(3):
        cache.store(["a", "b"], np.ones((2, 3), np.float32))
    assert len(parts(tmp_path)) == 1
    assert cache.find(["a", "b"])[1].all()


def test_what_is_damaged_is_not_taken_over(cache, tmp_path):
    cache.store(["a", "b"], np.ones((2, 3), np.float32))
    (vectors,) = tmp_path.glob("*/*.vectors.npy")
    data = bytearray(vectors.read_bytes())
    data[-1] ^= 0x40
    vectors.write_bytes(data)
    cache.store(["c", "d"], np.ones((2, 3), np.float32))
    assert len(parts(tmp_path)) == 1
    assert cache.find(["a", "b", "c", "d"])[1].sum() == 3
    (vectors,) = tmp_path.glob("*/*.vectors.npy")
    vectors.write_bytes(b"")
    cache.store(["e", "f", "g"], np.ones((3, 3), np.float32))
    assert len(parts(tmp_path)) == 2
    assert cache.find(["a", "b", "c", "d", "e", "f", "g"])[1].sum() == 3


def test_parts_that_another_process_takes_over_meanwhile_are_found(cache, tmp_path, monkeypatch):
    cache.store(["a", "b", "c"], np.ones((3, 2), np.float32))
    cache.store(["d"], np.ones((1, 2), np.float32))
    load = vector_cache._load

    def beside(path):
        monkeypatch.setattr(vector_cache, "_load", load)
        cache.store(["e", "f"], np.ones((2, 2), np.float32))
        cache.store(["g"], np.ones((1, 2), np.float32))
        assert not any(path.exists() for path in before)
        return load(path)

    before = parts(tmp_path)
    assert len(before) == 2
    monkeypatch.setattr(vector_cache, "_load", beside)
    assert cache.find(["a", "b", "c", "d"])[1].all()


def test_halves_that_a_killed_process_left_are_removed_after_a_day(cache, tmp_path):
    cache.store(["a"], np.ones((1, 2), np.float32))
    (directory,) = tmp_path.iterdir()
    whole = {path.name for path in directory.iterdir()}
    halves = ["0.vectors.npy", "1.keys.npy", "2.keys.npy.0a.part", "3.vectors.npy.0a.part"]
    for name in [*halves, "4.vectors.npy"]:
        (directory / name).write_bytes(b"")
    for name in [*halves, *whole]:
        os.utime(directory / name, (0, 0))
    cache.store(["b", "c"], np.ones((2, 2), np.float32))
    cache.store(["d"], np.ones((1, 2), np.float32))
    assert {path.name for path in directory.iterdir()} - {
        name for path in parts(tmp_path) for name in (path.name, path.name.replace("keys", "vectors"))
    } == {"4.vectors.npy"}
    assert cache.find(["a", "b", "c", "d"])[1].all()


@pytest.mark.parametrize("damage", ["flipped", "cut", "emptied", "keys", "gone"])
def test_damage_is_mended(cache, tmp_path, damage, caplog):
    titles = [item("a" * (i + 1)) for i in range(20)]
    whole = remembering(cache, Counting()).encode(titles)
    (keys,), (vectors,) = tmp_path.glob("*/*.keys.npy"), tmp_path.glob("*/*.vectors.npy")
    path = keys if damage == "keys" else vectors
    data = bytearray(path.read_bytes())
    if damage == "gone":
        path.unlink()
    elif damage == "flipped":
        data[-1] ^= 0x40
        path.write_bytes(data)
    else:
        path.write_bytes(data[: 0 if damage == "emptied" else len(data) - 7])
    encoder = Counting()
    assert np.array_equal(remembering(cache, encoder).encode(titles), whole)
    assert len(encoder.asked) == (1 if damage == "flipped" else 20)
    again = Counting()
    assert np.array_equal(remembering(cache, again).encode(titles), whole)
    assert again.asked == []


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    encoder = Counting()
    for _ in range(2):
        remembering(VectorCache("kind", "print", tmp_path / "file"), encoder).encode([item("a")])
    assert encoder.asked == ["a", "a"]


def test_the_latest_teachers_are_kept(tmp_path):
    for number in range(vector_cache._KEPT + 3):
        VectorCache("kind", f"{number:032d}", tmp_path).store(["a"], np.ones((1, 2), np.float32))
    VectorCache("other", "x", tmp_path).store(["a"], np.ones((1, 2), np.float32))
    assert len(list(tmp_path.glob("kind-*"))) == vector_cache._KEPT
    assert VectorCache("kind", f"{vector_cache._KEPT + 2:032d}", tmp_path).find(["a"])[1].all()


def test_lsa_is_not_fitted_again(tmp_path, monkeypatch):
    monkeypatch.setattr(vector_cache, "cache_directory", lambda: tmp_path)
    expected = semantics.fit_lsa(ITEMS, CONFIG.teacher, 0, with_categories=True).encode(ITEMS)
    first = lsa_teacher(ITEMS, CONFIG)
    assert first.encode(ITEMS).tobytes() == expected.tobytes()
    monkeypatch.setattr(remembered, "fit_lsa", fitted_again)
    second = lsa_teacher(ITEMS, CONFIG)
    assert pickle.loads(pickle.dumps(second)).encode(ITEMS[10:20]).tobytes() == expected[10:20].tobytes()
    with pytest.raises(pytest.fail.Exception):
        lsa_teacher([*ITEMS[:-1], item("another")], CONFIG)
    with pytest.raises(pytest.fail.Exception):
        lsa_teacher(ITEMS, dataclasses.replace(CONFIG, seed=1))


@pytest.fixture
def changed(tmp_path, monkeypatch):
    """Changes a line of a module, as an upgrade does."""

    def change(module):
        shutil.copytree(ROOT / "preprocessing", tmp_path / "code/preprocessing")
        with open(tmp_path / "code/preprocessing" / module, "a") as file:
            file.write("# changed\n")
        monkeypatch.setattr(sources_hash, "_ROOT", tmp_path / "code")
        sources_hash._hash_sources.cache_clear()

    yield change
    sources_hash._hash_sources.cache_clear()


@pytest.mark.parametrize(("module", "again"), [("semantics.py", True), ("onnx_encoder.py", False)])
def test_lsa_is_fitted_again_when_its_code_has_changed(tmp_path, monkeypatch, changed, module, again):
    monkeypatch.setattr(vector_cache, "cache_directory", lambda: tmp_path / "cache")
    lsa_teacher(ITEMS, CONFIG)
    monkeypatch.setattr(remembered, "fit_lsa", fitted_again)
    changed(module)
    with pytest.raises(pytest.fail.Exception) if again else contextlib.nullcontext():
        lsa_teacher(ITEMS, CONFIG)


def test_a_sentence_encoder_encodes_again_when_its_code_has_changed(tmp_path, monkeypatch, changed, shared_data):
    monkeypatch.setattr(vector_cache, "cache_directory", lambda: tmp_path / "cache")
    path = str(shared_data / "models/minilm")
    config = dataclasses.replace(CONFIG, teacher=TeacherConfig(kind="onnx", path=path))
    for _ in range(2):
        onnx_teacher(config).encode(ITEMS[:2])
    assert len(list((tmp_path / "cache").glob("onnx-*"))) == 1
    changed("onnx_encoder.py")
    onnx_teacher(config).encode(ITEMS[:2])
    assert len(list((tmp_path / "cache").glob("onnx-*"))) == 2


def test_a_remembered_lsa_encodes_what_it_never_saw(tmp_path, monkeypatch):
    monkeypatch.setattr(vector_cache, "cache_directory", lambda: tmp_path)
    lsa_teacher(ITEMS, CONFIG)
    strange = [item("kind of thing 3"), ITEMS[4]]
    expected = semantics.fit_lsa(ITEMS, CONFIG.teacher, 0, with_categories=True).encode(strange)
    assert lsa_teacher(ITEMS, CONFIG).encode(strange).tobytes() == expected.tobytes()


def test_of_a_sampled_catalogue_nothing_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(vector_cache, "cache_directory", lambda: tmp_path)
    monkeypatch.setattr(remembered, "FIT_ITEMS", 60)
    config = dataclasses.replace(CONFIG, features=FeaturesConfig(categories=False))
    assert lsa_teacher(ITEMS, config).encode(ITEMS).any()
    assert list(tmp_path.iterdir()) == []
