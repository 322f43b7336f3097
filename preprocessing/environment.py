"""What TensorFlow reads of the environment at its first import, which may be by TFX or Beam before it is by us."""

import os
from typing import Final

_DEFAULTS: Final = {
    "TF_USE_LEGACY_KERAS": "1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    # oneDNN may reorder sums, and the same seed would give other weights where it is on than where it is off.
    "TF_ENABLE_ONEDNN_OPTS": "0",
}


def set_defaults() -> None:
    """Sets what is not set; to be called before anything can import TensorFlow."""
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)
