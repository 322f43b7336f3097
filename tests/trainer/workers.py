"""Starts the workers of one training as processes of their own on the loopback, as an operator starts pods."""

import dataclasses
import json
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from trainer.config import TrainingConfig

ROOT = Path(__file__).resolve().parents[2]
_TWO_DEVICES = """
import trainer.loop, trainer.train
from preprocessing.backend import tf
from trainer.cluster import Cluster
from trainer.distribution import Distribution
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
both = Distribution(tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]), Cluster())
trainer.loop.distribution = trainer.train.distribution = lambda: both
"""
_PROGRAM = """
import dataclasses, json, logging, sys
logging.basicConfig(level=logging.INFO, format="%(name)s %(levelname)s %(message)s")
from pathlib import Path
from preprocessing.errors import UserError
from trainer.config import TrainingConfig
from trainer.train import train
from trainer.typed import typed
examples, output, config, resume = sys.argv[1:]
try:
    result = train(Path(examples), Path(output), typed(TrainingConfig, json.loads(config)), resume=bool(resume))
except UserError as error:
    sys.exit(f"refused: {error}")
print(json.dumps({"epochs": result.epochs, "scores": result.scores and dataclasses.asdict(result.scores)}))
"""


def free_ports(number: int) -> list[int]:
    servers = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [server.getsockname()[1] for server in servers]
    for server in servers:
        server.close()
    return ports


def start_workers(
    examples: Path, outputs: Sequence[Path], configs: Sequence[TrainingConfig], *, resume: bool = False
) -> list[subprocess.Popen]:
    """One worker for each output directory and configuration; the first is the chief."""
    cluster = {"worker": [f"127.0.0.1:{port}" for port in free_ports(len(outputs))]}
    processes = []
    for index, (output, config) in enumerate(zip(outputs, configs, strict=True)):
        task = {"cluster": cluster, "task": {"type": "worker", "index": index}, "environment": "cloud"}
        environment = {"TF_CONFIG": json.dumps(task), "no_proxy": "127.0.0.1"}
        processes.append(_start(_PROGRAM, examples, output, config, resume, environment))
    return processes


def start_on_two_devices(examples: Path, output: Path, config: TrainingConfig) -> subprocess.Popen:
    """One process with a replica on each of two devices."""
    return _start(_TWO_DEVICES + _PROGRAM, examples, output, config, False, {})


def _start(
    program: str, examples: Path, output: Path, config: TrainingConfig, resume: bool, environment: dict[str, str]
) -> subprocess.Popen:
    options = json.dumps(dataclasses.asdict(config))
    return subprocess.Popen(
        [sys.executable, "-c", program, str(examples), str(output), options, "resume" if resume else ""],
        cwd=ROOT,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(processes: Sequence[subprocess.Popen], timeout: float = 500) -> list[tuple[int, str, str]]:
    """Exit status, standard output and standard error of each; kills what does not end."""
    try:
        return [(process.wait(timeout), *process.communicate()) for process in processes]
    finally:
        for process in processes:
            process.kill()
