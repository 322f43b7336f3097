"""Today's catalogue in the terms of yesterday's examples: the same teacher, counts by id, mistakes refused."""

import dataclasses

import numpy as np
import pytest

from preprocessing.config import InputConfig, PreprocessingConfig, TeacherConfig
from preprocessing.errors import UserError
from preprocessing.new_catalogue import read_new_catalogue
from preprocessing.pipeline import preprocess
from preprocessing.read import read_items
from tests.preprocessing.shop import shop_interactions, shop_items, write_csv, write_jsonl

CONFIG = PreprocessingConfig(teacher=TeacherConfig(dimension=8))


def vector(item):
    return [1.0, float(item["item_id"][-1]), float(item["item_id"].startswith("red"))]


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    directory = tmp_path_factory.mktemp("shop")
    log = write_csv(directory / "log.csv", shop_interactions())
    items = write_csv(directory / "items.csv", shop_items())
    preprocess(CONFIG, [log], [items], str(directory / "examples"))
    return read_items(str(directory / "examples"))


def read(items, trained_on, tmp_path, config=CONFIG):
    return read_new_catalogue(config, [write_jsonl(tmp_path / "items.jsonl", items)], trained_on, str(tmp_path / "bad"))


def test_known_items_have_the_vectors_that_the_model_has_learnt(shop, tmp_path):
    kept = [item for item in shop_items() if item["item_id"] not in ("red0", "blue3")]
    new = {"item_id": "green0", "title": "green thing number 1", "description": "", "categories": "green|things"}
    changed = dict(kept[0], title="something else altogether")
    table = read([new, changed, *kept[1:]], shop, tmp_path)
    assert table.ids == sorted([*(item["item_id"] for item in kept), "green0"])
    for row, item_id in enumerate(table.ids):
        if item_id in ("green0", changed["item_id"]):
            continue
        old = shop.ids.index(item_id)
        np.testing.assert_allclose(table.content_vectors[row], shop.content_vectors[old], atol=1e-5)
        assert table.interaction_count[row] == shop.interaction_count[old] > 0
        assert table.target_count[row] == shop.target_count[old]
        assert table.recent_count[row].tolist() == shop.recent_count[old].tolist()
    green = table.ids.index("green0")
    assert table.interaction_count[green] == table.target_count[green] == table.recent_count[green].sum() == 0
    assert np.linalg.norm(table.content_vectors[green]) == pytest.approx(1.0, abs=1e-5)


def test_another_teacher_is_refused(shop, tmp_path):
    scrambled = dataclasses.replace(shop, content_vectors=shop.content_vectors[::-1].copy())
    with pytest.raises(UserError, match=r"12 items did not change.*teacher is another one.*`mtmh run`"):
        read(shop_items(), scrambled, tmp_path)
    with pytest.raises(UserError, match=r"4 dimensions.*trained on 8"):
        read(shop_items(), shop, tmp_path, PreprocessingConfig(teacher=TeacherConfig(dimension=4)))


def test_vectors_of_a_column(shop, tmp_path):
    config = PreprocessingConfig(teacher=TeacherConfig(kind="column"))
    rows = [dict(item, embedding=vector(item)) for item in shop_items()]
    unit = np.array([vector({"item_id": item_id}) for item_id in shop.ids])
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    trained_on = dataclasses.replace(shop, content_vectors=unit.astype(np.float32))
    table = read(rows, trained_on, tmp_path, config)
    np.testing.assert_allclose(table.content_vectors, unit, atol=1e-6)
    with pytest.raises(UserError, match="teacher is another one"):
        read([dict(row, embedding=row["embedding"][::-1]) for row in rows], trained_on, tmp_path, config)
    with pytest.raises(UserError, match=r"2 dimensions.*trained on 3"):
        read([dict(row, embedding=row["embedding"][:2]) for row in rows], trained_on, tmp_path, config)


def test_rows_that_cannot_be_used(shop, tmp_path):
    rows = [*shop_items(), {"item_id": "", "title": "nameless"}]
    with pytest.raises(UserError, match=r"1 of 13 rows of items are bad.*bad/dead_letters"):
        read(rows, shop, tmp_path, dataclasses.replace(CONFIG, input=InputConfig(max_bad_share=0.0)))
    assert len(read(rows, shop, tmp_path, dataclasses.replace(CONFIG, input=InputConfig(max_bad_share=0.2)))) == 12
    assert (tmp_path / "bad" / "dead_letters").is_dir()
