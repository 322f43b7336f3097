"""Loading ScaNN SavedModels in a process that holds TFX's native libraries.

A process was once seen to abort there. The pipeline builds and measures the index in its own process and validates
versions in another one; this says what a process that does both would have to live with.
"""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_PROGRAM = """
import sys
from preprocessing.backend import tf
import tfx_bsl.coders.example_coder, tensorflow_data_validation, tensorflow_transform, ml_metadata
from tfx import components
from scann.scann_ops.py import scann_ops
import numpy as np
paths, loads = sys.argv[2:], int(sys.argv[1])
first = {}
for turn in range(loads):
    path = paths[turn % len(paths)]
    model = tf.saved_model.load(path)
    outputs = model.signatures["serving_default"](item_id=tf.constant(["i10", "i20"]))
    found = outputs["item_id"].numpy().tolist()
    assert first.setdefault(path, found) == found
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        tf.compat.v1.saved_model.loader.load(session, ["serve"], path)
    del model
print("loaded", loads, flush=True)
"""


@pytest.mark.parametrize("loads", [pytest.param(60, marks=pytest.mark.slow), 4])
def test_a_process_with_tfx_in_it_loads_scann_again_and_again(exported_exact, exported_tree, loads):
    paths = [str(exported_exact.directory), str(exported_tree.directory)]
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(loads), *paths], cwd=ROOT, capture_output=True, text=True, timeout=1800
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip().endswith(f"loaded {loads}")
