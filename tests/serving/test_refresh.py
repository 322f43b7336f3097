"""A refreshed version answers with today's catalogue, and what it knows of an item it knew before."""

import numpy as np
import pytest

from preprocessing.errors import UserError
from serving.config import RefreshConfig
from serving.refresh import CatalogueChange, build_refreshed
from serving.server.servable import LoadedVersion
from serving.signatures import EMBED, RETRIEVE
from tests.serving.conftest import CONFIG
from tests.trainer.test_other_catalogue import rows_of, with_item

NEW = "brand new"


@pytest.fixture(scope="module")
def catalogue(trained):
    """Without the three most popular items, with a new one that is like item 10."""
    items = trained.items
    kept = rows_of(items, np.argsort(-items.interaction_count, kind="stable")[3:])
    kept = rows_of(kept, np.argsort([item_id.encode() for item_id in kept.ids], kind="stable"))
    return with_item(kept, NEW, items.titles[10], items.categories[10], items.content_vectors[10])


@pytest.fixture(scope="module")
def refreshed(trained, catalogue, tmp_path_factory):
    version = tmp_path_factory.mktemp("refreshed") / "version"
    return build_refreshed(trained.examples, trained.model, catalogue, version, "mtmh", CONFIG)


@pytest.fixture(scope="module")
def ask(refreshed):
    """Asks the refreshed version as a server does."""
    loaded = LoadedVersion(1, refreshed.built.directory)

    def asked(signature, **inputs):
        arrays = {name: np.array(value, object if name.endswith("_id") else None) for name, value in inputs.items()}
        return loaded.ask(signature, **arrays)

    yield asked
    loaded.close()


def retrieve(ask, item_id, weight=0.3):
    answer = ask(
        RETRIEVE,
        item_id=[[item_id]],
        relevance_weight=np.array([weight], np.float32),
        k=np.array([30], np.int32),
        exclude_id=[[""]],
    )
    return [name.decode() for name in answer["item_id"][0]], {source.decode() for source in answer["source"][0]}


def test_answers_hold_what_the_catalogue_holds(trained, catalogue, ask):
    gone = set(trained.items.ids) - set(catalogue.ids)
    assert len(gone) == 3
    for item_id in [*catalogue.ids[::9], NEW]:
        found, sources = retrieve(ask, item_id)
        assert len(found) == 30
        assert set(found) <= set(catalogue.ids) - {item_id}
        assert "popular" not in sources
    for item_id in gone:
        assert retrieve(ask, item_id)[1] == {"popular"}
    # By relevance the new item stands beside what it is like.
    assert retrieve(ask, NEW, 1.0)[0][0] == trained.items.ids[10]
    assert NEW in retrieve(ask, trained.items.ids[10], 1.0)[0]


def test_known_items_are_served_as_before(trained, exported_exact, refreshed, ask):
    before = LoadedVersion(1, exported_exact.directory)
    ids = [item_id for item_id in trained.items.ids if item_id in refreshed.items.ids]
    old = before.ask(EMBED, item_id=np.array(ids, object))
    before.close()
    new = ask(EMBED, item_id=ids)
    for name, vectors in old.items():
        np.testing.assert_allclose(new[name], vectors, atol=1e-6)


def test_the_index_is_measured(refreshed):
    assert min(refreshed.built.index_recall.values()) > 0.99
    assert refreshed.has_dial


def test_another_catalogue_than_ones_own(trained):
    items = trained.items
    half = rows_of(items, np.arange(0, len(items), 2))
    change = CatalogueChange.between(items, half)
    assert (change.new, change.kept, change.gone) == (0, 30, 30)
    assert change.kept_of_engaged == pytest.approx(0.5)
    change.check(RefreshConfig(min_kept=0.5))
    with pytest.raises(UserError, match=r"50\.0%.*refresh\.min_kept 0\.6.*whole catalogue"):
        change.check(RefreshConfig(min_kept=0.6))
    grown = with_item(half, "new", "a", [], items.content_vectors[0])
    change = CatalogueChange.between(items, grown)
    assert change.new == 1
    with pytest.raises(UserError, match=r"refresh\.max_new.*train again"):
        change.check(RefreshConfig(max_new=0.01))


def test_other_examples_are_refused(trained, catalogue, tmp_path):
    from tests.trainer.toys import write_checkerboard

    with pytest.raises(UserError, match="another catalogue"):
        build_refreshed(write_checkerboard(tmp_path), trained.model, catalogue, tmp_path / "version", "mtmh", CONFIG)
