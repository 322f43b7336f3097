"""What items that no model has seen engaged with are asked with."""

import dataclasses

import numpy as np
import pytest

from preprocessing.config import FeaturesConfig
from preprocessing.read import read_items
from tests.trainer.toys import SMALL, SMALL_LOSS, SMALL_MODEL, changed, item_table, small_catalogue, write_examples
from trainer.artefact import load_model
from trainer.cold_start import ColdStartQuery, fit_cold_start
from trainer.model import MTMHModel
from trainer.train import train

PENALTIES = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def left_out(content, triggers, penalty):
    """Sum of squared errors of each item's trigger by the ridge regression on all others."""
    error = 0.0
    for row in range(len(content)):
        others = np.arange(len(content)) != row
        x, y = content[others], triggers[others]
        centred = x - x.mean(axis=0)
        kernel = np.linalg.solve(centred.T @ centred + penalty * np.eye(x.shape[1]), centred.T @ (y - y.mean(axis=0)))
        error += np.sum((y.mean(axis=0) + (content[row] - x.mean(axis=0)) @ kernel - triggers[row]) ** 2)
    return error


@pytest.mark.parametrize("noise", [0.0, 0.5, 50.0])
def test_a_ridge_regression_whose_penalty_is_chosen_by_leaving_one_out(noise):
    rng = np.random.default_rng(1)
    content = unit(rng.normal(size=(40, 5)))
    triggers = unit(content @ rng.normal(size=(5, 3)) + noise * rng.normal(size=(40, 3)))
    penalty = min(PENALTIES, key=lambda each: left_out(content, triggers, each))
    centred = content - content.mean(axis=0)
    expected = np.linalg.solve(
        centred.T @ centred + penalty * np.eye(5), centred.T @ (triggers - triggers.mean(axis=0))
    )
    kernel, bias = fit_cold_start(content.astype(np.float32), triggers.astype(np.float32))
    assert kernel == pytest.approx(expected, abs=1e-4)
    assert bias == pytest.approx(triggers.mean(axis=0) - content.mean(axis=0) @ expected, abs=1e-4)


def test_items_without_content_teach_nothing():
    rng = np.random.default_rng(2)
    content, triggers = unit(rng.normal(size=(9, 3))).astype(np.float32), unit(rng.normal(size=(9, 2)))
    content[[2, 5]] = 0
    told = content.any(axis=1)
    found, expected = fit_cold_start(content, triggers), fit_cold_start(content[told], triggers[told])
    assert [part.tobytes() for part in found] == [part.tobytes() for part in expected]


def test_weights_that_have_diverged_teach_nothing():
    """The training says so itself, in an operator's words, when the loss is no longer a number."""
    rng = np.random.default_rng(4)
    content, triggers = unit(rng.normal(size=(9, 3))).astype(np.float32), unit(rng.normal(size=(9, 2)))
    triggers[3, 1], triggers[7, 0] = np.nan, np.inf
    told = np.isfinite(triggers).all(axis=1)
    found, expected = fit_cold_start(content, triggers), fit_cold_start(content[told], triggers[told])
    assert [part.tobytes() for part in found] == [part.tobytes() for part in expected]
    kernel, bias = fit_cold_start(content, np.full((9, 2), np.nan, np.float32))
    assert not kernel.any()
    assert not bias.any()


@pytest.mark.parametrize("known", [0, 1])
def test_with_nothing_to_learn_from_the_encoder_answers(known):
    content = np.zeros((4, 3), np.float32)
    content[:known, 0] = 1
    fitted = fit_cold_start(content, np.ones((4, 2), np.float32))
    layer = ColdStartQuery(3, 2, 0.6)
    layer.assign(*fitted)
    encoded = unit(np.array([[1.0, 2.0], [3.0, -1.0]])).astype(np.float32)
    assert layer(encoded, np.ones((2, 3), np.float32)).numpy() == pytest.approx(encoded, abs=1e-6)


@pytest.mark.parametrize("share", [0.25, 0.6, 1.0])
def test_the_answers_are_mixed_by_share(share):
    layer = ColdStartQuery(2, 2, share)
    layer.assign(np.array([[0.0, 3.0], [0.5, 0.0]], np.float32), np.array([0.0, 1.0], np.float32))
    encoded = np.array([[1.0, 0.0], [1.0, 0.0]], np.float32)
    content = np.array([[1.0, 0.0], [0.0, 0.0]], np.float32)
    expected = unit(share * np.array([[0.0, 1.0], [0.0, 1.0]]) + (1 - share) * encoded)
    assert layer(encoded, content).numpy() == pytest.approx(expected, abs=1e-6)


def model_of(features=None, **options):
    rng = np.random.default_rng(3)
    content = unit(rng.normal(size=(30, 4)))
    catalogue = small_catalogue(item_table([f"word{row}" for row in range(30)], content=content))
    known = np.arange(30) % 3 > 0
    config = dataclasses.replace(SMALL_MODEL, **options)
    return MTMHModel(dataclasses.replace(catalogue, known=known), features or FeaturesConfig(), config, SMALL_LOSS, 0)


def test_only_the_questions_of_items_without_an_identity_change():
    model = model_of()
    known = model.known.numpy()
    before = model.embed_catalogue()
    model.learn_cold_start()
    after = model.embed_catalogue()
    changed_rows = np.abs(after.engagement_trigger - before.engagement_trigger).max(axis=1) > 1e-4
    assert changed_rows.tolist() == (~known).tolist()
    assert np.linalg.norm(after.engagement_trigger, axis=1) == pytest.approx(np.ones(30), abs=1e-5)
    assert after.engagement_candidate.tobytes() == before.engagement_candidate.tobytes()
    assert after.relevance.tobytes() == before.relevance.tobytes()


def test_the_map_is_that_of_the_known_items():
    model = model_of(cold_start=1.0)
    model.learn_cold_start()
    known, vectors = model.known.numpy(), model.embed_catalogue().engagement_trigger
    content = np.random.default_rng(3).normal(size=(30, 4))
    content = unit(content).astype(np.float32)
    kernel, bias = fit_cold_start(content[known], vectors[known])
    assert vectors[~known] == pytest.approx(unit(content[~known] @ kernel + bias), abs=1e-4)


@pytest.mark.parametrize(
    ("features", "options"),
    [
        (FeaturesConfig(), {"cold_start": 0.0}),
        (FeaturesConfig(content_vector=False), {}),
        (FeaturesConfig(), {"name": "relevance_only"}),
    ],
)
def test_no_map_where_it_is_switched_off_or_there_is_nothing_to_map(features, options):
    model = model_of(features, **options)
    assert model.cold_start is None
    before = model.embed_catalogue()
    model.learn_cold_start()
    assert vars(model.embed_catalogue()).keys() == vars(before).keys()
    for name, column in vars(model.embed_catalogue()).items():
        assert column.tobytes() == getattr(before, name).tobytes()


CLASSES, MEMBERS, UNSEEN = 4, 12, 4
"""Items of each class, the last few of which are in no event."""


def write_classes(directory, seed=0):
    """A trigger leads to items of the next class at random: content tells the class, and by its noise the item."""
    rng = np.random.default_rng(seed)
    number = CLASSES * MEMBERS
    content = np.repeat(np.eye(CLASSES, 16), MEMBERS, axis=0) + 0.35 * rng.normal(size=(number, 16))
    seen = np.arange(number) % MEMBERS < MEMBERS - UNSEEN
    count = np.where(seen, 10, 0)
    items = item_table(
        ["thing"] * number, content=unit(content), interaction_count=count.tolist(), target_count=count.tolist()
    )

    def events(triggers, times):
        found = []
        for trigger in np.repeat(triggers, times):
            target = (trigger // MEMBERS + 1) % CLASSES * MEMBERS + rng.choice(MEMBERS - UNSEEN, 2, replace=False)
            found.append((int(trigger), [int(each) for each in target]))
        return found

    warm = events(np.flatnonzero(seen), 6)
    return write_examples(directory, items, warm, events(np.flatnonzero(seen), 1)), ~seen


def test_what_is_unseen_leads_where_its_like_leads_and_survives_the_disk(tmp_path):
    examples, unseen = write_classes(tmp_path / "examples")
    items = read_items(str(examples))
    shares = {}
    for share in (0.0, 0.6):
        # Without the losses that look at the teacher, content is known by engagement alone.
        config = changed(
            SMALL,
            model={"cold_start": share, "id_element_dropout": 0.0},
            loss={"relevance": 0, "align": 0, "uniform_negatives": CLASSES * MEMBERS},
            trainer={"epochs": 24, "patience": 24, "batch_size": 32, "learning_rate": 0.005},
            evaluate={"k": MEMBERS - UNSEEN},
        )
        result = train(examples, tmp_path / str(share), config)
        model, _, _ = load_model(result.model, items)
        vectors = model.embed_catalogue()
        scores = vectors.engagement_trigger[unseen] @ vectors.engagement_candidate[~unseen].T
        best = np.flatnonzero(~unseen)[np.argsort(-scores, axis=1)[:, : MEMBERS - UNSEEN]]
        wanted = (np.flatnonzero(unseen) // MEMBERS + 1) % CLASSES
        shares[share] = np.mean(best // MEMBERS == wanted[:, np.newaxis])
        if share:
            kernel = model.cold_start.get_weights()[0]
            assert kernel.any()
            model.learn_cold_start()
            assert model.cold_start.get_weights()[0] == pytest.approx(kernel, abs=1e-5)
    assert shares[0.6] > 0.8
    assert shares[0.6] > shares[0.0] + 0.03
