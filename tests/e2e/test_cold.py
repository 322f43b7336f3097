"""Real items that no part of a training has seen, asked for by their titles."""

from benchmarks.cold import DATA, measure
from tfx_pipeline.config import load_config
from tfx_pipeline.steps import Inputs


def test_titles_reach_most_of_the_relevance_of_the_teachers_vectors(tmp_path):
    settings = ["trainer.epochs=1", "trainer.steps_per_epoch=16", "trainer.tensorboard=false", "model.hidden=64"]
    inputs = Inputs((str(DATA / "interactions.csv.gz"),), (str(DATA / "items.csv.gz"),))
    rows = measure(tmp_path, load_config(None, settings), inputs, 1000)
    assert {0.0, 1.0} <= {row["relevance_weight"] for row in rows}
    assert min(row["kept"] for row in rows) >= 0.8
    assert rows[-1]["relevance_by_vector"] > 0.3  # and it is relevance that is kept
