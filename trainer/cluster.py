"""The workers of a training, as the environment variable ``TF_CONFIG`` names them; reads no TensorFlow."""

import dataclasses
import json
import os
from collections.abc import Mapping
from typing import Any, Final

from preprocessing.errors import UserError

TF_CONFIG: Final = "TF_CONFIG"
_CHIEF: Final = "chief"
_WORKER: Final = "worker"


@dataclasses.dataclass(frozen=True)
class Cluster:
    """Who trains together, and which of them this process is.

    Attributes:
      size: number of workers, the chief included.
      task: this process by its name in ``TF_CONFIG``, such as ``worker 1``.
      is_chief: whether this process is the one that writes.
    """

    size: int = 1
    task: str = "worker 0"
    is_chief: bool = True


def cluster(environment: Mapping[str, str] = os.environ) -> Cluster:
    """Reads ``TF_CONFIG``; without it, or with one worker in it, this process trains alone.

    The chief is the task of type ``chief``, or else worker 0, as for TensorFlow.

    Raises:
      UserError: it is no JSON, or names tasks that this training has no use for, or none that this process could be.
    """
    text = environment.get(TF_CONFIG, "").strip()
    if not text:
        return Cluster()
    try:
        document = json.loads(text)
        workers = {kind: len(addresses) for kind, addresses in document.get("cluster", {}).items() if addresses}
        task: Any = document.get("task", {})
        kind, index = str(task.get("type", _WORKER)), int(task.get("index", 0))
    except (AttributeError, TypeError, ValueError) as error:
        raise UserError(
            f"{TF_CONFIG} cannot be read ({error}); it is to be JSON such as "
            '{"cluster": {"worker": ["host0:2222", "host1:2222"]}, "task": {"type": "worker", "index": 0}}'
        ) from None
    others = sorted(set(workers) - {_CHIEF, _WORKER})
    if others:
        raise UserError(
            f"{TF_CONFIG} names tasks of type {', '.join(others)}; the training is synchronous and knows {_CHIEF} and "
            f"{_WORKER} alone"
        )
    size = sum(workers.values())
    if size <= 1:
        return Cluster()
    if not 0 <= index < workers.get(kind, 0):
        raise UserError(f"{TF_CONFIG} says that this is {kind} {index}, which is none of its cluster")
    if workers.get(_CHIEF, 0) > 1:
        raise UserError(f"{TF_CONFIG} names {workers[_CHIEF]} chiefs; there is one to be, or none: then worker 0 is it")
    return Cluster(size, f"{kind} {index}", kind == _CHIEF or (index == 0 and _CHIEF not in workers))


def require_one_process(verb: str) -> None:
    """Checks that a verb that several workers could only do all over again is asked of one process.

    Raises:
      UserError: ``TF_CONFIG`` names several workers.
    """
    found = cluster()
    if found.size > 1:
        raise UserError(
            f"{TF_CONFIG} makes this {found.task} of {found.size}, and only `mtmh train` is shared by several; run "
            f"`mtmh {verb}` without it"
        )
