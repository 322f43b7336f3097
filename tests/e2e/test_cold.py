"""Real items that no part of a training has seen, asked for by their titles."""

import pytest

from benchmarks.cold import DATA, measure
from tfx_pipeline.config import load_config
from tfx_pipeline.steps import Inputs

SMALL = ("trainer.epochs=1", "trainer.steps_per_epoch=16", "trainer.tensorboard=false", "model.hidden=64")
INPUTS = Inputs((str(DATA / "interactions.csv.gz"),), (str(DATA / "items.csv.gz"),))


def kept(root, *settings, encoder=None):
    """Share of the relevance by vectors that titles keep, at each setting of the dial."""
    rows = measure(root, load_config(None, [*SMALL, *settings]), INPUTS, 1000, encoder)
    assert {0.0, 1.0} <= {row["relevance_weight"] for row in rows}
    assert rows[-1]["relevance_by_vector"] > 0.3  # and it is relevance that is kept
    return [row["kept"] for row in rows]


def test_titles_reach_most_of_the_relevance_of_the_teachers_vectors(tmp_path):
    assert min(kept(tmp_path)) >= 0.8


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["onnx", "column"])
def test_so_they_do_of_a_sentence_encoders_and_of_vectors_that_the_catalogue_brings(tmp_path, shared_data, kind):
    encoder = str(shared_data / "models/minilm")
    if kind == "onnx":
        assert min(kept(tmp_path, "teacher.kind=onnx", f"teacher.path={encoder}")) >= 0.8
    else:
        assert min(kept(tmp_path, "teacher.kind=column", encoder=encoder)) >= 0.8
