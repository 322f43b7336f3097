"""The one import of TensorFlow: Keras flavour, log level and the libraries that must share one TensorFlow.

Every module that needs TensorFlow or TensorFlow Recommenders takes them from here::

    from preprocessing.backend import tf, tfrs
"""

import logging
import os
import warnings

from preprocessing.environment import set_defaults
from preprocessing.native_log import without_import_chatter

set_defaults()
with without_import_chatter(), warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import tensorflow as tf
    import tensorflow_recommenders as tfrs

tf.get_logger().setLevel("ERROR")


def _not_chatter(record: logging.LogRecord) -> bool:
    """Drops what TensorFlow itself tells absl's logger in passing, as of every checkpoint that it writes."""
    return record.levelno >= logging.WARNING or f"{os.sep}tensorflow{os.sep}python{os.sep}" not in record.pathname


logging.getLogger("absl").addFilter(_not_chatter)

__all__ = ["tf", "tfrs"]
