"""What a training leaves for TensorBoard, read back with TensorBoard's own reader."""

import json

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2
from tensorboard.util import tensor_util

from preprocessing.read import read_items
from tests.trainer.toys import SMALL, changed, write_checkerboard
from trainer import slices
from trainer.artefact import load_model
from trainer.choice import Choice, frontier_area
from trainer.config import EvaluateConfig
from trainer.evaluate import DIAL, Scores
from trainer.projector import CONFIG
from trainer.tensorboard import gradient_shares, hyperparameters, validation_scalars, write_outcome
from trainer.train import choose, train

LOGGED = changed(
    SMALL, evaluate=EvaluateConfig(k=7), trainer={"epochs": 2, "batch_size": 64, "tensorboard": True}
)  # fmt: skip


def scalars_of(run):
    """Value by step of each tag."""
    events = EventAccumulator(str(run)).Reload()
    return {
        tag: {event.step: float(tensor_util.make_ndarray(event.tensor_proto)) for event in events.Tensors(tag)}
        for tag in events.Tags()["tensors"]
        if events.SummaryMetadata(tag).plugin_data.plugin_name == "scalars"
    }


def session_of(run):
    """Options by name, as the HParams page reads them."""
    content = EventAccumulator(str(run)).Reload().PluginTagToContent("hparams")
    data = plugin_data_pb2.HParamsPluginData.FromString(content["_hparams_/session_start_info"])
    return dict(data.session_start_info.hparams.items()), data.session_start_info.group_name


def point(weight, recall, relevance=0.5, k=5):
    """Scores at a setting of the dial."""
    values = {"recall": recall, "relevance": relevance, "topic_match": None}
    return Scores(k, weight, values, 9, 9, 0, True, {part: {"recall": recall / 2} for part in slices.SLICES})


@pytest.fixture(scope="module")
def board(tmp_path_factory):
    return write_checkerboard(tmp_path_factory.mktemp("board"))


@pytest.fixture(scope="module")
def trained(board, tmp_path_factory):
    """Directory of a training with two heads."""
    output = tmp_path_factory.mktemp("work") / "training" / "mtmh"
    train(board, output, LOGGED)
    return output


def test_an_epoch_tells_losses_shares_temperatures_and_metrics_by_head_and_slice(trained):
    scalars = scalars_of(trained / "logs" / "training")
    losses = ("engagement", "relevance", "align")
    expected = {
        "train/loss",
        *(f"train/loss_{loss}" for loss in losses),
        *(f"gradient_share/{loss}" for loss in losses),
    }
    expected |= {f"train/{name}_temperature" for name in losses}
    for head in ("validation_engagement_head", "validation_relevance_head"):
        expected |= {
            f"{head}/{metric}@7" for metric in ("recall", "relevance", "topic_match", "coverage", "tail_share")
        }
        for metric in ("recall", "relevance", "topic_match"):
            expected |= {f"{head}_by_slice/{metric}@7/{part}" for part in ("head", "torso", "tail")}
    assert expected <= set(scalars)
    assert all(sorted(scalars[tag]) == [1, 2] for tag in expected)
    for step in (1, 2):
        shares = [scalars[f"gradient_share/{loss}"][step] for loss in losses]
        assert sum(shares) == pytest.approx(1)
        assert min(shares) > 0
    assert scalars["train/loss"][2] < scalars["train/loss"][1]


def test_the_final_stage_has_no_validation_but_the_items(trained):
    run = trained / "logs" / "final"
    assert {tag.partition("/")[0] for tag in scalars_of(run)} == {"train", "gradient_share"}
    assert "engagement head" in (run / CONFIG).read_text()
    rows = (run / "items.tsv").read_text().splitlines()
    assert rows[1].split("\t") == ["i000", "black field 0", "black|fields", "tail", "20"]


def test_projected_vectors_are_those_of_the_trained_model(trained, board):
    vectors = load_model(trained / "model", read_items(str(board)))[0].embed_catalogue()
    for head, expected in (("engagement", vectors.engagement_candidate), ("relevance", vectors.relevance)):
        found = np.loadtxt(trained / "logs" / "final" / f"{head}.tsv", delimiter="\t")
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_outcome_is_a_session_of_the_hparams_page(trained):
    options, name = session_of(trained / "logs" / "outcome")
    assert name == "/".join(trained.parts[-3:])
    assert options["loss.relevance"].number_value == SMALL.loss.relevance
    assert options["model.name"].string_value == "mtmh"
    assert options["trainer.refit"].HasField("bool_value")
    scalars = scalars_of(trained / "logs" / "outcome")
    assert set(scalars) == {f"outcome/{name}" for name in ("recall@7", "relevance@7", "topic_match@7", "frontier_area")}
    description = json.loads((trained / "model" / "model.json").read_text())
    assert scalars["outcome/recall@7"] == {description["epochs"]: pytest.approx(description["dial"][0]["recall"])}
    of_epoch = scalars_of(trained / "logs" / "training")["validation_engagement_head/recall@7"]
    assert scalars["outcome/recall@7"][description["epochs"]] == pytest.approx(of_epoch[description["epochs"]])


def test_a_model_with_one_head_tells_that_one(board, tmp_path):
    one_epoch = {"epochs": 1, "batch_size": 512}
    choose(board, tmp_path / "one", changed(LOGGED, model={"name": "one_head"}, trainer=one_epoch))
    scalars = scalars_of(tmp_path / "one" / "logs" / "training")
    assert {tag.partition("/")[0] for tag in scalars} == {
        "train", "gradient_share", "validation_engagement_head", "validation_engagement_head_by_slice",
    }  # fmt: skip
    assert scalars["gradient_share/engagement"] == {1: 1.0}
    choose(board, tmp_path / "other", changed(LOGGED, model={"name": "relevance_only"}, trainer=one_epoch))
    scalars = scalars_of(tmp_path / "other" / "logs" / "training")
    assert "validation_relevance_head/recall@7" in scalars
    assert not [tag for tag in scalars if tag.startswith("validation_engagement_head")]


def test_what_is_shown_does_not_change_what_is_learnt(board, trained, tmp_path):
    silent = choose(board, tmp_path / "silent", changed(LOGGED, trainer={"tensorboard": False}))
    assert not (tmp_path / "silent" / "logs").exists()
    scalars = scalars_of(trained / "logs" / "outcome")
    recall = silent.scores[0].values["recall"]
    assert scalars["outcome/recall@7"] == {silent.epochs: pytest.approx(recall, abs=1e-7)}
    losses = [
        [epoch["train/loss"] for epoch in json.loads(path.read_text())["state"]["history"]]
        for path in (output / "checkpoints" / "training" / "state.json" for output in (tmp_path / "silent", trained))
    ]
    assert losses[0] == losses[1]


def test_a_watcher_sees_the_dial_after_each_epoch_and_may_end_the_stage(board, trained, tmp_path):
    seen = []

    def watch(epoch, scores):
        seen.append((epoch, [point.relevance_weight for point in scores]))
        if len(seen) == 1:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        choose(board, tmp_path / "cut", LOGGED, watch=watch)
    resumed = choose(board, tmp_path / "cut", LOGGED, resume=True, watch=watch)
    assert seen == [(1, list(DIAL)), (2, list(DIAL))]
    whole = json.loads((trained / "model" / "model.json").read_text())
    assert [point.values["recall"] for point in resumed.scores] == [point["recall"] for point in whole["dial"]]
    scalars, uninterrupted = (scalars_of(output / "logs" / "training") for output in (tmp_path / "cut", trained))
    assert set(scalars) == set(uninterrupted)
    assert all(sorted(steps) == [1, 2] for steps in scalars.values())


def test_tags_by_head_and_slice():
    scalars = validation_scalars([point(0.0, 0.4), point(0.3, 0.3), point(1.0, 0.2)])
    assert {
        tag: value for tag, value in scalars.items() if "recall" in tag and "head/" not in tag.partition("/")[2]
    } == {
        "validation_engagement_head/recall@5": 0.4,
        "validation_relevance_head/recall@5": 0.2,
        **{f"validation_engagement_head_by_slice/recall@5/{part}": 0.2 for part in slices.SLICES},
        **{f"validation_relevance_head_by_slice/recall@5/{part}": 0.1 for part in slices.SLICES},
    }
    assert scalars["validation_relevance_head/topic_match@5"] is None
    assert validation_scalars([]) == {}


def test_shares_where_no_gradient_flows():
    assert gradient_shares({"engagement": 0.0, "align": 0.0}) == dict.fromkeys(
        ("gradient_share/engagement", "gradient_share/align")
    )


def test_outcome_is_written_anew_and_leaves_out_what_is_not_known(tmp_path):
    logs = tmp_path / "m" / "logs"
    write_outcome(logs, LOGGED, Choice(3, (point(0.0, 0.4), point(1.0, 0.2))))
    write_outcome(logs, LOGGED, Choice(2, (point(0.0, 0.1, None), point(1.0, 0.2))))
    scalars = scalars_of(logs / "outcome")
    assert scalars == {"outcome/recall@5": {2: pytest.approx(0.1)}}


def test_hyperparameters_are_of_kinds_that_tensorboard_takes():
    options = hyperparameters(changed(LOGGED, loss={"mask_known_positives": None}))
    assert options["loss.mask_known_positives"] == "null"
    assert "trainer.tensorboard" not in options
    assert {type(value) for value in options.values()} <= {bool, int, float, str}


def test_frontier_area_of_scores():
    assert frontier_area([point(0.0, 0.3, 0.2), point(1.0, 0.1, 0.5)]) == pytest.approx(0.2 * 0.3 + 0.3 * 0.1)
    assert frontier_area([point(0.0, 0.3, None)]) is None
