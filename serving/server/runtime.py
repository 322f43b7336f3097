"""The one place where the server imports TensorFlow, and ScaNN's ops with it."""

import functools
import gc
import logging
import threading
from typing import Any

from preprocessing.environment import set_defaults
from preprocessing.native_log import without_import_chatter

_log = logging.getLogger("mtmh.serving")
_lock = threading.Lock()


@functools.cache
def _import() -> Any:
    set_defaults()
    with without_import_chatter():
        import tensorflow as tf

    tf.get_logger().setLevel(logging.CRITICAL)
    try:
        import scann  # noqa: F401  registers the ops that the `scann` flavour's graph names
    except ModuleNotFoundError as error:
        # The stock flavour needs no ScaNN; any other missing module is a broken installation and is raised.
        if error.name != "scann":
            raise
        _log.warning("scann is not installed: only models of the stock flavour can be loaded")
    # What TensorFlow brings along stays for good. Looking through its third of a million objects for garbage, which the
    # loading of a version sets off, stops all threads for a quarter of a second.
    gc.collect()
    gc.freeze()
    return tf


def tensorflow() -> Any:
    """The ``tensorflow`` module, quiet, with ScaNN's ops registered. The first call takes seconds."""
    with _lock:
        return _import()
