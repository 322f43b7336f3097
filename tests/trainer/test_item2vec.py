"""item2vec and content only."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from tests.trainer.event_logs import COLD, NUMBER, colours, histories
from tests.trainer.test_evaluate import unit
from trainer.content_only import ContentOnly
from trainer.item2vec import Item2Vec

TRAIN_ITEM2VEC = """
from tests.trainer.event_logs import colours, histories
from trainer.item2vec import Item2Vec
model = Item2Vec(histories(colours()), 18, seed=3).fit(**Item2Vec.default)
print(model.query.tobytes().hex() + model.candidate.tobytes().hex())
"""


def test_item2vec_is_the_same_in_every_process():
    """Python's own hash is salted anew in each."""
    printed = subprocess.run(
        [sys.executable, "-c", TRAIN_ITEM2VEC],
        env={**os.environ, "PYTHONHASHSEED": "1"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    here = Item2Vec(histories(colours()), NUMBER, seed=3).fit(**Item2Vec.default)
    assert printed.strip() == here.query.tobytes().hex() + here.candidate.tobytes().hex()


def test_item2vec_reads_its_vectors_in_four_ways():
    model = Item2Vec(histories(colours()), NUMBER, seed=0)
    first, second = (
        model.fit(learning_rate=0.05, readout="dot").query,
        model.fit(learning_rate=0.05, readout="dot").candidate,
    )
    assert not first[list(COLD)].any()

    def lists(readout):
        return model.fit(learning_rate=0.05, readout=readout).retrieve(np.arange(16), k=4).tolist()

    def naive(scores):
        np.fill_diagonal(scores, -np.inf)
        return np.argsort(-scores[:16, :16], axis=1, kind="stable")[:, :4].tolist()

    cosine = [vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9) for vectors in (first, second)]
    assert lists("dot") == naive(first @ second.T)
    assert lists("cosine") == naive(cosine[0] @ cosine[1].T)
    assert lists("both") == naive(cosine[0] @ cosine[1].T + cosine[1] @ cosine[0].T)
    assert lists("input") == naive(cosine[0] @ cosine[0].T)


def test_content_is_the_teachers_cosine():
    content = unit(np.random.default_rng(0), 9, 4)
    scores = content @ content.T
    np.fill_diagonal(scores, -2)
    found = ContentOnly(histories([[0, 1]]), content).fit().retrieve(np.arange(9), k=5)
    assert found.tolist() == np.argsort(-scores, axis=1, kind="stable")[:, :5].tolist()
