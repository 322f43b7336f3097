"""Several workers train as one: who they are, what each does of a step, and two real processes on the loopback."""

import dataclasses
import functools
import json
import shutil
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from preprocessing.backend import tf
from preprocessing.errors import UserError
from preprocessing.read import read_items
from tests.trainer.toys import SMALL, changed, checkerboard_events, checkerboard_items, write_examples
from tests.trainer.workers import finish, start_on_two_devices, start_workers
from trainer.artefact import load_model
from trainer.cluster import Cluster, cluster, require_one_process
from trainer.config import EvaluateConfig
from trainer.distribution import Distribution
from trainer.replica import Replica
from trainer.train import train

HOSTS = ["a:2222", "b:2222"]


def tf_config(hosts, kind="worker", index=0):
    return {"TF_CONFIG": json.dumps({"cluster": hosts, "task": {"type": kind, "index": index}, "environment": "cloud"})}


def test_cluster_is_what_tf_config_says():
    assert cluster({}) == cluster({"TF_CONFIG": " "}) == cluster(tf_config({"worker": ["a:1"]})) == Cluster(1)
    assert cluster(tf_config({"worker": HOSTS})) == Cluster(2, "worker 0", True)
    assert cluster(tf_config({"worker": HOSTS}, index=1)) == Cluster(2, "worker 1", False)
    with_chief = {"chief": ["c:2222"], "worker": HOSTS}
    assert cluster(tf_config(with_chief, "chief")) == Cluster(3, "chief 0", True)
    assert cluster(tf_config(with_chief)) == Cluster(3, "worker 0", False)


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"TF_CONFIG": "{"}, "cannot be read"),
        ({"TF_CONFIG": "[]"}, "cannot be read"),
        ({"TF_CONFIG": '{"cluster": {"worker": 3}}'}, "cannot be read"),
        (tf_config({"worker": HOSTS, "ps": ["p:1"]}), r"of type ps; the training is synchronous"),
        (tf_config({"worker": HOSTS}, index=2), "worker 2, which is none of its cluster"),
        (tf_config({"worker": HOSTS}, "chief"), "chief 0, which is none"),
        (tf_config({"chief": HOSTS, "worker": HOSTS}), "2 chiefs"),
    ],
)
def test_cluster_refuses_what_it_cannot_be(environment, message):
    with pytest.raises(UserError, match=message):
        cluster(environment)


def test_only_train_is_shared(monkeypatch):
    monkeypatch.setenv("TF_CONFIG", tf_config({"worker": HOSTS[:1]})["TF_CONFIG"])
    require_one_process("run")
    monkeypatch.setenv("TF_CONFIG", tf_config({"worker": HOSTS}, index=1)["TF_CONFIG"])
    with pytest.raises(UserError, match=r"worker 1 of 2, and only `mtmh train` is shared"):
        require_one_process("run")


def replicas(number):
    return [Replica(SimpleNamespace(replica_id_in_sync_group=place), number) for place in range(number)]


@pytest.mark.parametrize("size", [0, 1, 2, 7, 9])
@pytest.mark.parametrize("number", [1, 2, 3])
def test_replicas_share_out_everything_once(number, size):
    whole = tf.reshape(tf.range(2 * size) + 1, [size, 2])
    rows = np.concatenate([replica.rows(whole).numpy() for replica in replicas(number)])
    assert sorted(rows[:, 0]) == whole[:, 0].numpy().tolist()
    parts = [replica.part(whole).numpy() for replica in replicas(number)]
    assert len({part.shape for part in parts}) == 1
    together = np.concatenate(parts)
    assert (together[:size] == whole.numpy()).all()
    assert not together[size:].any()


def test_joined_parts_get_the_gradient_of_every_user():
    """Two replicas of five items in parts of three; the other one's gradient is 10."""
    everything = tf.random.stateless_normal([6, 3], [1, 2])
    for place in range(2):
        part = everything[3 * place : 3 * place + 3]
        context = SimpleNamespace(
            replica_id_in_sync_group=place,
            all_gather=lambda _, axis: everything,
            all_reduce=lambda _, gradient: gradient + 10.0,
        )
        with tf.GradientTape() as tape:
            tape.watch(part)
            left, right = Replica(context, 2).joined([part[:, :1], part[:, 1:]], 5)
            # A gather, whose own gradient is sparse.
            loss = tf.reduce_sum(tf.gather(left, [0, 4, 4])) + 3.0 * tf.reduce_sum(right)
        assert (left.numpy() == everything[:5, :1].numpy()).all()
        assert (right.numpy() == everything[:5, 1:].numpy()).all()
        expected = np.array([[11, 13, 13], [10, 13, 13], [10, 13, 13], [10, 13, 13], [12, 13, 13], [0, 0, 0]], float)
        assert tape.gradient(loss, part).numpy() == pytest.approx(expected[3 * place : 3 * place + 3])


def test_alone_nothing_is_exchanged():
    alone = Distribution(tf.distribute.get_strategy(), Cluster())
    batches = tf.data.Dataset.range(3)
    assert alone.feed(batches) is batches
    assert alone.by_chief(lambda: {1: 2}) == {1: 2}  # not by way of JSON
    array = np.arange(3)
    assert alone.from_chief(array) is array


# --- two processes ----------------------------------------------------------------------------------------------------

FIFTY_STEPS = changed(
    SMALL,
    loss={"unseen_rows": 1},
    evaluate=EvaluateConfig(k=7),
    trainer={"epochs": 5, "patience": 5, "batch_size": 25, "averaged_steps": 10.0},
)
"""Of 240 triggers: the last batch of an epoch has 15, which two workers do not share evenly."""


def examples_with_annotations(directory, validation_events):
    """The last item is never a trigger, so that the teacher's part is learnt of such a one, too."""
    items = checkerboard_items()
    events = [event for event in checkerboard_events(events=300) if event[0] != len(items) - 1][:240]
    targets = [target for _, followers in events for target in followers]
    return write_examples(
        directory,
        dataclasses.replace(items, target_count=np.bincount(targets, minlength=len(items))),
        events,
        checkerboard_events(events=40, seed=1),
        validation_events=validation_events,
        annotations=[(i, (i + step) % 16, grade, False) for i in range(16) for step, grade in ((1, 0.0), (2, 1.0))],
    )


def known(values):
    """Those that are known: pytest compares no None."""
    return {name: value for name, value in values.items() if value is not None}


def history(output, stage):
    return json.loads((output / "checkpoints" / stage / "state.json").read_text())["state"]["history"]


def assert_same_training(output, single, stage):
    found, expected = history(output, stage), history(single, stage)
    assert len(found) == len(expected)
    for left, right in zip(found, expected, strict=True):
        assert "train/loss_annotations" in left
        assert known(left) == pytest.approx(known(right), rel=1e-4)


def assert_same_checkpoint(output, single, name):
    """Adam's moments too: those of a mean of gradients, in place of their sum, would be other ones."""
    left, right = (tf.train.load_checkpoint(str(directory / "checkpoints" / name)) for directory in (output, single))
    assert left.get_variable_to_shape_map() == right.get_variable_to_shape_map()
    numbers = [key for key, kind in right.get_variable_to_dtype_map().items() if kind == tf.float32]
    assert len(numbers) > 20
    for key in numbers:
        expected = right.get_tensor(key)
        assert left.get_tensor(key) == pytest.approx(expected, abs=0.01 * float(np.abs(expected).max()) + 1e-9), key


def assert_same_model(output, single, examples):
    models = [load_model(directory / "model", read_items(str(examples)))[0] for directory in (output, single)]
    left, right = (vars(model.embed_catalogue()) for model in models)
    for name in left:
        assert left[name] == pytest.approx(right[name], abs=1e-3)


@dataclasses.dataclass
class Fifty:
    """Examples, and one process's training on them: started when it is asked for, beside the workers'."""

    examples: Path
    output: Path

    @functools.cached_property
    def single(self):
        train(self.examples, self.output, FIFTY_STEPS)
        return self.output


@pytest.fixture(scope="module")
def fifty(tmp_path_factory):
    directory = tmp_path_factory.mktemp("fifty")
    return Fifty(examples_with_annotations(directory / "examples", validation_events=[]), directory / "single")


def test_two_workers_train_as_one(fifty, tmp_path):
    """Fifty steps of the same batches; the other worker writes nothing."""
    outputs = [tmp_path / "chief", tmp_path / "other"]
    processes = start_workers(fifty.examples, outputs, [FIFTY_STEPS] * 2)
    single = fifty.single
    for status, _, errors in finish(processes):
        assert status == 0, errors
    assert len(history(outputs[0], "final")) == 5
    assert_same_training(outputs[0], single, "final")
    assert_same_checkpoint(outputs[0], single, "final/last-5")
    assert_same_model(outputs[0], single, fifty.examples)
    assert not outputs[1].exists()


@pytest.mark.slow
def test_two_devices_of_one_process_train_as_one(fifty, tmp_path):
    """As a worker with two GPUs: its replicas are fed the same batches."""
    process = start_on_two_devices(fifty.examples, tmp_path / "two", FIFTY_STEPS)
    single = fifty.single
    ((status, _, errors),) = finish([process])
    assert status == 0, errors
    assert_same_training(tmp_path / "two", single, "final")
    assert_same_model(tmp_path / "two", single, fifty.examples)


@pytest.mark.slow
def test_a_killed_worker_ends_all_and_resumed_they_end_as_one_process_does(tmp_path):
    examples = examples_with_annotations(tmp_path / "examples", checkerboard_events(events=40, seed=1))
    config = changed(FIFTY_STEPS, trainer={"epochs": 40, "patience": 40, "tensorboard": True})
    outputs = [tmp_path / "chief", tmp_path / "other"]
    state = outputs[0] / "checkpoints" / "training" / "state.json"
    processes = start_workers(examples, outputs, [config] * 2)
    while not state.exists():
        time.sleep(0.2)
        assert processes[0].poll() is None, processes[0].communicate()
    processes[1].kill()
    (status, _, errors), _ = finish(processes, timeout=200)
    assert status == 1
    assert "refused: worker 0 has lost another worker" in errors
    assert 1 <= len(history(outputs[0], "training")) < 40
    # The pods come back, the second one on an empty disk.
    shutil.rmtree(outputs[1], ignore_errors=True)
    processes = start_workers(examples, outputs, [config] * 2, resume=True)
    single = train(examples, tmp_path / "single", config)
    results = finish(processes)
    for status, answer, errors in results:
        assert status == 0, errors
        found = json.loads(answer)
        assert found["epochs"] == single.epochs
        assert known(found["scores"]["values"]) == pytest.approx(known(single.scores.values), rel=1e-4)
    for stage in ("training", "final"):
        assert_same_training(outputs[0], tmp_path / "single", stage)
    assert_same_model(outputs[0], tmp_path / "single", examples)
    assert not outputs[1].exists()


@pytest.mark.slow
def test_workers_with_different_options_are_refused(fifty, tmp_path):
    configs = [FIFTY_STEPS, changed(FIFTY_STEPS, loss={"relevance": 0.7})]
    outputs = [tmp_path / "chief", tmp_path / "other"]
    chief, other = finish(start_workers(fifty.examples, outputs, configs), timeout=200)
    assert chief[0] != 0
    assert other[0] == 1
    assert "refused: worker 1 was started with other options or examples than the chief" in other[2]
