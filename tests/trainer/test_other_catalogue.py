"""Another catalogue with the same weights: known items stay who they are, strangers are what is said of them."""

import doctest

import numpy as np
import pytest

from preprocessing.read import ItemTable
from tests.trainer.toys import SMALL, checkerboard_items, small_catalogue
from trainer import other_catalogue
from trainer.artefact import ModelDescription, catalogue_digest
from trainer.model import MTMHModel
from trainer.other_catalogue import embed_other_catalogue, identity_rows, triggers_in


def rows_of(table: ItemTable, rows) -> ItemTable:
    """The table with these rows only, in this order."""
    lists = {
        name: [getattr(table, name)[row] for row in rows] for name in ("ids", "titles", "descriptions", "categories")
    }
    columns = ("content_vectors", "interaction_count", "target_count", "recent_count")
    arrays = {name: getattr(table, name)[rows] for name in columns}
    return ItemTable(**lists, **arrays)


def with_item(table: ItemTable, item_id: str, title: str, categories, content) -> ItemTable:
    """The table with one more item, in its place by id."""
    grown = ItemTable(
        ids=[*table.ids, item_id],
        titles=[*table.titles, title],
        descriptions=[*table.descriptions, ""],
        categories=[*table.categories, tuple(categories)],
        content_vectors=np.concatenate([table.content_vectors, [content]]).astype(np.float32),
        interaction_count=np.append(table.interaction_count, 0),
        target_count=np.append(table.target_count, 0),
        recent_count=np.append(table.recent_count, [[0, 0, 0]], axis=0),
    )
    return rows_of(grown, np.argsort(grown.ids, kind="stable"))


@pytest.fixture(scope="module")
def trained():
    """A model of 16 items, of which the last was never engaged with, and its description."""
    items = checkerboard_items()
    items.interaction_count[-1] = 0
    catalogue = small_catalogue(items)
    model = MTMHModel(catalogue, SMALL.features, SMALL.model, SMALL.loss, seed=3)
    rng = np.random.default_rng(3)
    for (
        weights
    ) in model.relevance_query.weights:  # as a training leaves them: at first the head adds nothing of its own
        weights.assign(rng.normal(size=weights.shape) * 0.3)
    description = ModelDescription(
        features=SMALL.features,
        model=SMALL.model,
        loss=SMALL.loss,
        trainer=SMALL.trainer,
        seed=3,
        num_items=len(items),
        content_dimension=items.content_vectors.shape[1],
        vocabulary=catalogue.vocabulary,
        catalogue_digest=catalogue_digest(items),
        examples_digest="",
        epochs=1,
        dial=(),
        refit=False,
    )
    return items, model, description


def columns(vectors):
    return (vectors.engagement_trigger, vectors.engagement_candidate, vectors.relevance)


def test_the_same_catalogue_gives_the_same_vectors(trained, monkeypatch):
    monkeypatch.setattr(other_catalogue, "_BATCH", 5)
    items, model, description = trained
    found = embed_other_catalogue(model, description, items, items)
    for ours, theirs in zip(columns(found), columns(model.embed_catalogue()), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_known_items_keep_their_vectors_wherever_they_stand(trained):
    items, model, description = trained
    kept = np.array([1, 4, 5, 9, 15])
    grown = with_item(rows_of(items, kept), "a new one", "black field", ["black"], items.content_vectors[0])
    found = embed_other_catalogue(model, description, items, grown)
    places = [grown.ids.index(items.ids[row]) for row in kept]
    assert places != kept.tolist()
    for ours, theirs in zip(columns(found), columns(model.embed_catalogue()), strict=True):
        assert len(ours) == 6
        np.testing.assert_allclose(ours[places], theirs[kept], atol=1e-6)


def test_a_new_item_is_what_is_said_of_it_and_nothing_else(trained):
    """Its id is no part of it; one that was never engaged with counts as new."""
    items, model, description = trained
    said = (items.titles[3], items.categories[3], items.content_vectors[3])
    grown = with_item(with_item(items, "a", *said), "z", *said)
    vectors = columns(embed_other_catalogue(model, description, items, grown))
    for matrix in vectors:
        np.testing.assert_allclose(matrix[grown.ids.index("a")], matrix[grown.ids.index("z")], atol=1e-6)
        assert np.abs(matrix[grown.ids.index("a")] - matrix[grown.ids.index(items.ids[3])]).max() > 1e-3
    never = with_item(items, "a", items.titles[15], items.categories[15], items.content_vectors[15])
    for matrix in columns(embed_other_catalogue(model, description, items, never)):
        np.testing.assert_allclose(matrix[never.ids.index("a")], matrix[never.ids.index(items.ids[15])], atol=1e-6)


def test_categories_keep_their_numbers(trained):
    """A vocabulary of the new catalogue would be in another order."""
    items, model, description = trained
    odd = rows_of(items, np.arange(1, 16, 2))
    found = embed_other_catalogue(model, description, items, odd)
    np.testing.assert_allclose(found.relevance, model.embed_catalogue().relevance[1::2], atol=1e-6)


def test_the_examples_in_the_documentation():
    names = {"np": np, "identity_rows": identity_rows, "EvalTriggers": other_catalogue.EvalTriggers}
    results = doctest.testmod(other_catalogue, extraglobs=names | {"triggers_in": triggers_in})
    assert results.attempted >= 3
    assert not results.failed
