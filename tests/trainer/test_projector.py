"""The projector's files, read back as TensorBoard reads them."""

import dataclasses

import numpy as np
import pytest
from google.protobuf import text_format
from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig

from tests.trainer.toys import item_table
from trainer.model import ItemVectors
from trainer.projector import CONFIG, METADATA, projected_items, write_projector


def random_vectors(number, seed=0):
    rng = np.random.default_rng(seed)
    return ItemVectors(*(rng.normal(size=(number, 4)).astype(np.float32) for _ in range(3)))


def read_table(path):
    return [line.split("\t") for line in path.read_text(encoding="utf-8").split("\n")[:-1]]


def read_vectors(path):
    return np.array([[float(cell) for cell in row] for row in read_table(path)])


@pytest.fixture
def items():
    return item_table(
        ["tab\there", "line\nbreak\r\nof\u2028all\x0bkinds\x85", "", "Pæl ☃"],
        [["a\tb", "c"], [], ["d"], []],
        interaction_count=[3, 0, 1, 9],
        ids=["x\ty", "1", "2", "3"],
    )


def test_vectors_of_both_heads_beside_what_is_known_of_the_items(tmp_path, items):
    vectors = random_vectors(4)
    write_projector(tmp_path / "run", items, vectors, ["engagement", "relevance"], seed=0)
    config = text_format.Parse((tmp_path / "run" / CONFIG).read_text(), ProjectorConfig())
    assert [tensor.tensor_name for tensor in config.embeddings] == ["engagement head", "relevance head"]
    assert {tensor.metadata_path for tensor in config.embeddings} == {METADATA}
    for tensor, expected in zip(config.embeddings, (vectors.engagement_candidate, vectors.relevance), strict=True):
        found = read_vectors(tmp_path / "run" / tensor.tensor_path)
        np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert read_table(tmp_path / "run" / METADATA) == [
        ["id", "title", "categories", "slice", "interactions"],
        ["x y", "tab here", "a b|c", "torso", "3"],
        ["1", "line break of all kinds", "", "cold", "0"],
        ["2", "", "d", "tail", "1"],
        ["3", "Pæl ☃", "", "head", "9"],
    ]


def test_a_model_with_one_head_shows_one(tmp_path, items):
    write_projector(tmp_path, items, random_vectors(4), ["relevance"], seed=0)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([CONFIG, METADATA, "relevance.tsv"])


def test_of_too_many_items_the_most_engaged_and_a_seeded_sample():
    count = np.random.default_rng(3).permutation(1000)
    found = projected_items(count, seed=1, most=100)
    assert len(found) == 100
    assert (np.diff(found) > 0).all()
    assert set(np.argsort(-count)[:50]) <= set(found)
    others = count[found][count[found] < 950]
    assert len(others) == 50
    assert others.min() < 150  # from the least engaged, too
    assert np.array_equal(found, projected_items(count, seed=1, most=100))
    assert not np.array_equal(found, projected_items(count, seed=2, most=100))


def test_rows_of_a_sample_stand_for_the_same_items(tmp_path, items, monkeypatch):
    monkeypatch.setattr(projected_items, "__defaults__", (2,))
    vectors = random_vectors(4)
    write_projector(tmp_path, items, dataclasses.replace(vectors), ["relevance"], seed=0)
    ids = [row[0] for row in read_table(tmp_path / METADATA)[1:]]
    assert len(ids) == 2
    assert "3" in ids
    rows = [["x y", "1", "2", "3"].index(name) for name in ids]
    np.testing.assert_allclose(read_vectors(tmp_path / "relevance.tsv"), vectors.relevance[rows], rtol=1e-4)
