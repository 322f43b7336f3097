"""Reading checkpoints that may be missing, cut off or another model's."""

import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np

from preprocessing.backend import tf

_LONGEST_REASON = 200
_GRAPH: Final = "_CHECKPOINTABLE_OBJECT_GRAPH"
"""TensorFlow's own entry: how the objects hang together, no value of theirs."""


def read_checkpoint(checkpoint: Any, path: Path) -> None:
    """Restores every variable of a `tf.train.Checkpoint`.

    Args:
      checkpoint: the objects to restore.
      path: prefix of the checkpoint's files.

    Raises:
      ValueError: the files are missing or damaged, or do not hold all the variables; the message is one line.
    """
    with _one_error():
        checkpoint.read(str(path)).assert_existing_objects_matched()


def check_checkpoint(path: Path) -> None:
    """Reads every tensor of a checkpoint and restores none.

    Args:
      path: prefix of the checkpoint's files.

    Raises:
      ValueError: the files are missing or damaged; the message is one line.
    """
    with _one_error():
        reader = tf.train.load_checkpoint(str(path))
        for name in reader.get_variable_to_shape_map():
            reader.get_tensor(name)


def checkpoint_digest(path: Path) -> str:
    """SHA-256 of the values that a checkpoint holds, by their names: equal however its files were written.

    Args:
      path: prefix of the checkpoint's files.

    Raises:
      ValueError: the files are missing or damaged; the message is one line.
    """
    digest = hashlib.sha256()
    with _one_error():
        reader = tf.train.load_checkpoint(str(path))
        for name in sorted(reader.get_variable_to_shape_map()):
            if name != _GRAPH:
                value = reader.get_tensor(name)
                digest.update(f"{name} {value.dtype} {value.shape}\n".encode())
                # A buffer, not bytes: a table of ids is not to be in memory twice.
                digest.update(np.ascontiguousarray(value).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


@contextlib.contextmanager
def _one_error() -> Iterator[None]:
    try:
        yield
    except (AssertionError, IndexError, RuntimeError, ValueError, tf.errors.OpError) as error:
        # TensorFlow's reader turns a status into whichever Python error stands for it.
        raise ValueError(str(error).strip().partition("\n")[0][:_LONGEST_REASON]) from None
