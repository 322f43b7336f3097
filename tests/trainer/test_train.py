"""Whole trainings on a checkerboard: users stay on fields of one colour, and the teacher tells the colours."""

import dataclasses
import json
import logging
import math
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from preprocessing import schema
from preprocessing.backend import tf
from preprocessing.config import FeaturesConfig
from preprocessing.errors import UserError
from tests.trainer.toys import (
    SMALL,
    changed,
    checkerboard_events,
    checkerboard_items,
    item_table,
    write_examples,
)
from tests.trainer.trainings import ONE_STEP, same, vectors_of
from trainer import loop as loop_module, metrics
from trainer.artefact import load_model, weights_digest
from trainer.config import EvaluateConfig
from trainer.density import MOST_ID_DROPOUT
from trainer.exact import retrieve_exact
from trainer.train import _build, _read, choose, suited_options, train

ROOT = Path(__file__).resolve().parents[2]


def colours_right(vectors, weight):
    found = retrieve_exact(vectors, np.arange(16), k=7, relevance_weight=weight)
    return (found % 2 == np.arange(16)[:, None] % 2).mean()


def test_learns_the_colours_at_every_dial(trained, board):
    scores = trained.result.scores
    assert scores.values[metrics.RECALL] > 0.95
    assert scores.values[metrics.TOPIC_MATCH] > 0.95
    vectors = vectors_of(trained.output, board)
    assert colours_right(vectors, 0.0) > 0.95
    assert colours_right(vectors, 0.3) > 0.95
    assert colours_right(vectors, 1.0) > 0.95


def test_relevance_head_follows_the_teacher(trained, board):
    vectors, content = vectors_of(trained.output, board), checkerboard_items().content_vectors
    others = ~np.eye(16, dtype=bool)
    teacher = (content @ content.T)[others]

    def agreement(left, right):
        return np.corrcoef((left @ right.T)[others], teacher)[0, 1]

    relevance = agreement(vectors.relevance, vectors.relevance)
    assert relevance > 0.9
    within = others & (np.arange(16)[:, None] % 2 == np.arange(16) % 2)  # finer than the colours
    fine = np.corrcoef((vectors.relevance @ vectors.relevance.T)[within], (content @ content.T)[within])[0, 1]
    assert fine > 0.2


def test_same_seed_gives_the_same_model(trained, board, tmp_path):
    again = train(board, tmp_path / "again", trained.config)
    assert again.scores == trained.result.scores
    assert again.epochs == trained.result.epochs
    first = vectors_of(trained.output, board)
    assert same(first, vectors_of(tmp_path / "again", board))
    assert weights_digest(tmp_path / "again" / "model") == weights_digest(trained.output / "model")


def test_description_tells_the_dial_of_the_kept_weights(trained):
    document = json.loads((trained.output / "model" / "model.json").read_text(encoding="utf-8"))
    dial = document["dial"]
    assert [point["relevance_weight"] for point in dial] == sorted(point["relevance_weight"] for point in dial)
    assert dial[0] == {
        "relevance_weight": 0.0,
        "recall": trained.result.scores.values[metrics.RECALL],
        "relevance": trained.result.scores.values[metrics.RELEVANCE],
    }
    assert dial[-1]["relevance"] > dial[0]["relevance"] - 0.01  # both are near the best that there is
    assert (document["epochs"], document["k"]) == (trained.result.epochs, 7)


def test_tensorboard_has_every_loss_and_metric_by_epoch(trained):
    found: dict[str, dict[int, float]] = {}
    for path in (trained.output / "logs" / "training").glob("events*"):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                found.setdefault(value.tag, {})[event.step] = float(tf.make_ndarray(value.tensor))
    wanted = {f"train/{name}" for name in ("loss", "loss_engagement", "loss_relevance", "loss_align")}
    wanted |= {f"train/{name}_temperature" for name in ("engagement", "relevance", "align")}
    wanted |= {f"gradient_share/{name}" for name in ("engagement", "relevance", "align")}
    heads = ("validation_engagement_head", "validation_relevance_head")
    wanted |= {f"{head}/{name}@7" for head in heads for name in metrics.METRICS if name != metrics.RECALL_COLD}
    assert {tag for tag in found if "_by_slice/" not in tag} == wanted
    epochs = json.loads((trained.output / "checkpoints" / "training" / "state.json").read_text())["state"]["epoch"]
    assert all(sorted(steps) == list(range(1, epochs + 1)) for steps in found.values())
    for step in range(1, epochs + 1):  # the joint loss is that of the design
        parts = [found[f"train/loss_{name}"][step] for name in ("engagement", "relevance", "align")]
        joint = parts[0] + trained.config.loss.relevance * parts[1] + trained.config.loss.align * parts[2]
        assert found["train/loss"][step] == pytest.approx(joint, rel=1e-4)
    assert found["train/loss"][epochs] < found["train/loss"][1]


def test_checkpoints_keep_the_last_and_the_best_alone(trained):
    stems = {path.stem for path in (trained.output / "checkpoints" / "training").iterdir()}
    state = json.loads((trained.output / "checkpoints" / "training" / "state.json").read_text())["state"]
    assert stems == {"state", f"last-{state['epoch']}", f"best-{state['best_epoch']}"}
    assert state["best_epoch"] == trained.result.epochs


def test_one_head_has_no_dial(board, tmp_path):
    config = changed(SMALL, model={"name": "one_head"}, evaluate=EvaluateConfig(k=7), trainer={"epochs": 5})
    result = train(board, tmp_path, config)
    vectors = vectors_of(tmp_path, board)
    assert not vectors.relevance.any()
    assert colours_right(vectors, 0.0) > 0.9
    assert result.scores.values[metrics.RECALL] > 0.9
    assert len(json.loads((result.model / "model.json").read_text())["dial"]) == 1


def test_early_stopping_waits_as_long_as_patience_says(board, tmp_path, monkeypatch):
    recalls = iter([0.2, 0.5, 0.4, 0.5, 0.9])
    true_loop = loop_module.TrainingLoop

    def judged(name, *args, judge, **kwargs):
        def score():
            scores = judge()
            scores[0].values[metrics.RECALL] = next(recalls)
            return scores

        return true_loop(name, *args, judge=judge and score, **kwargs)

    monkeypatch.setattr("trainer.train.TrainingLoop", judged)
    result = train(board, tmp_path, changed(SMALL, trainer={"epochs": 5, "patience": 2, "batch_size": 512}))
    assert result.epochs == 2  # an equal recall is no better one
    assert next(recalls) == 0.9
    state = json.loads((tmp_path / "checkpoints" / "training" / "state.json").read_text())["state"]
    assert (state["epoch"], state["best_epoch"], state["best_score"]) == (4, 2, 0.5)


def test_patience_zero_trains_at_least_an_epoch(board, tmp_path):
    assert train(board, tmp_path, changed(SMALL, trainer=ONE_STEP | {"epochs": 2, "patience": 0})).epochs >= 1


def test_loss_that_is_no_number_ends_the_training(board, tmp_path, monkeypatch):
    from trainer.model import MTMHModel

    original = MTMHModel.compute_loss
    monkeypatch.setattr(MTMHModel, "compute_loss", lambda *args, **kwargs: original(*args, **kwargs) * math.nan)
    with pytest.raises(UserError, match=r"the loss became nan in epoch 1; lower trainer\.learning_rate, now 0\.02"):
        train(board, tmp_path, SMALL)
    assert not (tmp_path / "model").exists()


def test_a_slice_that_tells_epochs_nothing_apart_ends_no_training(tmp_path, caplog):
    """All that is engaged with in it is item 15, which the training does not know."""
    early = [(a, [b for b in bs if b != 15]) for a, bs in checkerboard_events(events=60) if a != 15]
    early = [(a, bs) for a, bs in early if bs]
    examples = write_examples(
        tmp_path / "examples", checkerboard_items(), early, early[:20], validation_events=[(0, [15])] * 5
    )
    with caplog.at_level("WARNING", logger="mtmh"):
        result = train(examples, tmp_path / "run", changed(SMALL, trainer={"epochs": 3, "patience": 1}))
    assert result.epochs == 3
    assert "recall@50 on the validation slice is 0 or unknown after every epoch" in caplog.text


def test_what_else_a_catalogue_lists_does_not_make_the_data_sparser(tmp_path):
    events = checkerboard_events(events=480)
    open_config = changed(SMALL, model={"id_dropout": None})
    found = {}
    for number in (16, 400):
        examples = write_examples(tmp_path / str(number), checkerboard_items(number), events, events[:20])
        found[number] = suited_options(examples, open_config)["model.id_dropout"]
    assert found[16] == found[400] < MOST_ID_DROPOUT


@pytest.mark.slow
def test_refit_learns_what_came_after_the_split(tmp_path):
    """Item 15 is engaged after the split only: refit gives it an identity and brings it to its triggers."""
    board_items = checkerboard_items()
    count = board_items.interaction_count.copy()
    count[15] = 0
    items = dataclasses.replace(board_items, interaction_count=count)
    early = [(a, [b for b in bs if b != 15]) for a, bs in checkerboard_events() if a != 15]
    early = [(a, bs) for a, bs in early if bs]
    late = [(a, [15]) for a in (0, 2, 4, 6) for _ in range(15)] + early[:60]
    examples = write_examples(tmp_path / "examples", items, early, late, validation_events=early[:40])
    # Its own features would carry it to white fields; engagement says black.
    config = changed(
        SMALL,
        features=FeaturesConfig(text=False, categories=False, content_vector=False),
        model={"id_dropout": 0.0, "id_element_dropout": 0.0},
        evaluate=EvaluateConfig(k=5),
        trainer={"epochs": 3, "patience": 3},
    )

    def rank_of_15(output):
        vectors = vectors_of(output, examples)
        found = retrieve_exact(vectors, np.array([0, 2, 4, 6]), k=15, relevance_weight=0.0)
        return np.argmax(found == 15, axis=1).mean()

    plain = train(examples, tmp_path / "plain", config)
    refit = train(examples, tmp_path / "refit", changed(config, trainer={"refit": True}))
    assert refit.epochs == plain.epochs
    assert refit.scores == plain.scores  # honest: of the weights that have not seen the evaluation period
    assert json.loads((refit.model / "model.json").read_text())["refit"] is True
    _, catalogue, _ = load_model(refit.model, items)
    assert catalogue.known.all()
    assert not load_model(plain.model, items)[1].known[15]
    assert rank_of_15(tmp_path / "refit") < rank_of_15(tmp_path / "plain")


def test_refit_gives_an_identity_to_what_came_after_the_split(tmp_path):
    items = dataclasses.replace(checkerboard_items(), interaction_count=np.zeros(16, np.int64))
    data = _read(write_examples(tmp_path, items, [(0, [2])], [(4, [6, 8])]), SMALL)
    for parts, known in (((schema.PAIRS,), {0, 2}), ((schema.PAIRS, schema.EVAL), {0, 2, 4, 6, 8})):
        assert set(np.flatnonzero(_build(data, parts, SMALL)[0].known.numpy())) == known


def test_nothing_to_train_on_is_the_users_to_mend(tmp_path):
    examples = write_examples(tmp_path / "examples", checkerboard_items(), [], checkerboard_events(events=20))
    with pytest.raises(UserError, match=r"no training pairs; raise split\.quantile"):
        train(examples, tmp_path / "out", SMALL)


def test_without_a_validation_slice_all_epochs_are_trained(tmp_path, caplog):
    """There is nothing to choose by, and nothing is known of the dial; a tuning can do nothing at all."""
    examples = write_examples(tmp_path / "examples", checkerboard_items(), checkerboard_events(events=20), [])
    config = changed(SMALL, trainer=ONE_STEP | {"epochs": 2})
    result = train(examples, tmp_path / "out", config)
    assert (result.epochs, result.scores) == (2, None)
    assert "training for 2 epochs; split.validation_users" in caplog.text
    description = json.loads((result.model / "model.json").read_text())
    assert (description["dial"], description["k"]) == ([], None)
    train(examples, tmp_path / "out", changed(config, evaluate={"k": 3}, trainer={"patience": 1}), resume=True)
    with pytest.raises(UserError, match=r"no validation triggers.*split\.validation_quantile make that slice"):
        choose(examples, tmp_path / "out", config)


DEGENERATE = {
    "two items": item_table(["one", "two"]),
    "no titles": item_table([""] * 4, [["x"], ["y"], ["x"], []], np.eye(4)),
    "no categories": item_table(["a b", "b c", "c d", "d a"], None, np.eye(4)),
    "no content": item_table(["a", "b", "c", "d"], [["x"], ["y"], ["x"], ["y"]]),
    "odd names": item_table(
        ["", "「物の哀れ」 — ｶﾞﾗｽ", "a\u0301\u200d🦄", "e" * 5000],
        [["ü|ü"], ["\u202e"], [" "], ["🦄", "ü|ü"]],
        np.eye(4),
        ids=["", "\n", "nul\u0001", "🦄/\\\"'"],
    ),
}


@pytest.mark.parametrize("name", list(DEGENERATE))
@pytest.mark.parametrize("model", ["mtmh", pytest.param("one_head", marks=pytest.mark.slow)])
def test_degenerate_catalogues_train_and_answer(tmp_path, name, model):
    items = DEGENERATE[name]
    number = len(items)
    items = dataclasses.replace(items, target_count=np.full(number, 3))
    events = [(i, [(i + 1) % number]) for i in range(number)] * 3
    examples = write_examples(tmp_path / "examples", items, events, events[:number])
    result = train(examples, tmp_path / "out", changed(SMALL, model={"name": model}, trainer={"epochs": 2}))
    vectors = vectors_of(tmp_path / "out", examples)
    assert np.isfinite(vectors.engagement_trigger).all()
    assert np.isfinite(vectors.relevance).all()
    assert result.scores.values[metrics.RECALL] == 1.0  # K is beyond the catalogue
    assert (result.scores.values[metrics.TOPIC_MATCH] is None) == (not any(items.categories))
    assert (result.scores.values[metrics.RELEVANCE] is None) == (not items.content_vectors.any())


@pytest.mark.parametrize(
    "loss",
    [
        {"relevance": 0.0, "log_q": False},
        {"align": 0.0, "mask_known_positives": False, "uniform_negatives": 0, "teacher_neighbours": 0},
        {"relevance": 0.0, "align": 0.0, "uniform_negatives": 100},
    ],
)
def test_terms_of_the_loss_can_be_left_out(board, tmp_path, loss):
    train(board, tmp_path, changed(SMALL, seed=2**31 - 1, loss=loss, trainer=ONE_STEP))
    state = json.loads((tmp_path / "checkpoints" / "training" / "state.json").read_text())["state"]
    losses = {name for name in state["history"][0] if name.startswith("train/loss_")}
    left_out = {f"train/loss_{name}" for name in ("relevance", "align") if name in loss}
    assert losses == {"train/loss_engagement", "train/loss_relevance", "train/loss_align"} - left_out


def test_steps_that_no_call_divides(board, tmp_path):
    """240 events in batches of 11 are 22 steps, 8, 8 and 6 a call."""
    seen = []

    class Counting(loop_module._StepProgress):
        def on_train_batch_end(self, batch, logs=None):
            super().on_train_batch_end(batch, logs)
            seen.append(self._seen)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop_module, "_StepProgress", Counting)
        result = train(board, tmp_path, changed(SMALL, trainer={"batch_size": 11, "epochs": 2, "steps_per_epoch": 99}))
    # The final model learns from the 40 validation triggers too: 280 events are 26 steps.
    assert seen == [8, 16, 22] * 2 + [8, 16, 24, 26] * result.epochs


def test_the_log_says_each_thing_once_in_short_lines(tmp_path, caplog):
    """What the data decide before the first epoch; each epoch the loss with all that makes it up, and the metrics."""
    events = checkerboard_events(events=200)
    examples = write_examples(
        tmp_path / "examples", dataclasses.replace(checkerboard_items(), target_count=np.full(16, 9)), events,
        events[:20], validation_events=events[:40], annotations=[(0, 2, 1.0, False), (0, 1, 0.0, False)],
    )  # fmt: skip
    config = changed(SMALL, loss={"align": None, "annotations": 0.5}, trainer={"epochs": 2})
    with caplog.at_level("INFO", "mtmh.trainer"):
        train(examples, tmp_path / "run", config)
    assert max(len(message) for message in caplog.messages) <= 136
    (data,) = [message for message in caplog.messages if message.startswith("data: ")]
    assert re.fullmatch(
        r"data: [\d.]+ trigger events an item; teacher: [\d.]+ % of items alike, "
        r"[\d.]+ times as good as chance at what comes next",
        data,
    )
    (left,) = [message for message in caplog.messages if message.startswith("left to the data: ")]
    suited = suited_options(examples, config)
    assert left == "left to the data: " + ", ".join(f"{name} {value:.2g}" for name, value in suited.items())
    epochs = [message for message in caplog.messages if message.startswith("training epoch ")]
    assert len(epochs) == 2
    for line in epochs:
        found = {name: float(value) for name, value in re.findall(r"([a-z@\d]+) (\d+\.\d{3,4})", line)}
        assert list(found) == ["loss", "engagement", "align", "relevance", "annotations", "recall@50", "relevance@50"]
        weights = {
            "engagement": 1.0, "align": suited["loss.align"], "relevance": config.loss.relevance, "annotations": 0.5,
        }  # fmt: skip
        assert found["loss"] == pytest.approx(sum(found[name] * weight for name, weight in weights.items()), abs=2e-3)
    caplog.clear()
    closed = changed(SMALL, model={"name": "one_head", "id_dropout": 0.1, "id_element_dropout": 0.0})
    with caplog.at_level("INFO", "mtmh.trainer"):
        train(examples, tmp_path / "closed", closed)
    assert not any("teacher" in message or "left to the data" in message for message in caplog.messages)


def test_an_operators_log_holds_our_lines_alone(board, tmp_path):
    """In a process of its own, with all INFO logging shown, as in a Beam worker or under TFX."""
    program = f"""
import logging, sys
logging.basicConfig(level=logging.INFO, format="%(name)s %(levelname)s %(message)s")
from pathlib import Path
from tests.trainer.toys import SMALL, changed
from preprocessing import schema
from preprocessing.backend import tf
from trainer.train import train
config = changed(SMALL, trainer={{"epochs": 2, "batch_size": 512, "tensorboard": True}}, loss={{"align": 0.0}})
result = train(Path({str(board)!r}), Path({str(tmp_path / "out")!r}), config)
module = tf.Module()
module.f = tf.function(lambda x: x + 1, input_signature=[tf.TensorSpec([], tf.float32)])
tf.saved_model.save(module, {str(tmp_path / "saved")!r})
del module  # TensorFlow grumbles of functions that outlive it, whoever's they are
from trainer.artefact import load_model
from preprocessing.read import read_items
load_model(result.model, read_items({str(board)!r}))[0].embed_catalogue()
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert [line for line in lines if not line.startswith("mtmh.trainer INFO ")] == []
    assert sum("training epoch" in line and "(engagement " in line for line in lines) == 2
    assert 1 <= sum("final epoch" in line and "(engagement " in line for line in lines) <= 2


def test_absl_warnings_are_still_heard(caplog):
    with caplog.at_level(logging.INFO, logger="absl"):
        logging.getLogger("absl").warning("a real warning")
        logging.getLogger("absl").info("somebody else's line")
    assert [record.message for record in caplog.records] == ["a real warning", "somebody else's line"]
