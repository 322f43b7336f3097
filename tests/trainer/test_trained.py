"""When a trained model is the one that a configuration asks for."""

import dataclasses
import json

import pytest

from tests.trainer.toys import SMALL, changed
from trainer.artefact import FORMAT_VERSION, DialPoint, ModelDescription
from trainer.base import DESCRIPTION
from trainer.sources import trainer_version
from trainer.trained import what_differs

EXAMPLES = "e" * 64
VALIDATED = ModelDescription(
    features=SMALL.features, model=SMALL.model, loss=SMALL.loss, trainer=SMALL.trainer, seed=SMALL.seed, num_items=16,
    content_dimension=6, vocabulary=(), catalogue_digest="", examples_digest=EXAMPLES, epochs=2,
    dial=(DialPoint(0.0, 0.5, 0.25),), refit=False, code=trainer_version(), k=50,
)  # fmt: skip
NOT_VALIDATED = dataclasses.replace(VALIDATED, dial=(), k=None)


def differs(directory, description, config, examples=EXAMPLES):
    document = {"format_version": FORMAT_VERSION, **dataclasses.asdict(description)}
    (directory / DESCRIPTION).write_text(json.dumps(document))
    return what_differs(directory, config, examples)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, None),
        ({"evaluate": {"k": 10}}, "trained with evaluate.k=50, now 10"),
        ({"trainer": {"patience": 9}}, "trained with trainer.patience=6, now 9"),
        ({"trainer": {"tensorboard": True}}, None),
        ({"evaluate": {"tail_share": 0.2, "max_triggers": 9, "bootstrap_resamples": 9}}, None),
        ({"loss": {"align": 0.2}}, "trained with loss.align=0.05, now 0.2"),
        ({"seed": 1}, "trained with seed=0, now 1"),
    ],
)
def test_options_that_decide_a_model(tmp_path, changes, said):
    assert differs(tmp_path, VALIDATED, changed(SMALL, **changes)) == said


def test_what_chooses_decides_nothing_without_a_validation_slice(tmp_path):
    other = changed(SMALL, evaluate={"k": 10}, trainer={"patience": 9, "eval_triggers": 5})
    assert differs(tmp_path, NOT_VALIDATED, other) is None
    assert differs(tmp_path, NOT_VALIDATED, changed(other, seed=1)) == "trained with seed=0, now 1"


def test_a_model_that_does_not_tell_its_k_is_not_taken_for_any(tmp_path):
    earlier = dataclasses.replace(VALIDATED, k=None)
    assert differs(tmp_path, earlier, SMALL) == "trained with an evaluate.k that is not known"


def test_examples_and_code(tmp_path):
    assert differs(tmp_path, VALIDATED, SMALL, "f" * 64) == "trained on other examples"
    assert differs(tmp_path, dataclasses.replace(VALIDATED, code=""), SMALL) == "trained by other code"
    assert what_differs(tmp_path / "nowhere", SMALL, EXAMPLES) == "not trained yet"
