"""Work beside requests, such as the loading of a version: it gives way to them."""

import contextlib
import os
import sys
import threading
from typing import Final

_NICE: Final = 10
"""A tenth of the processor time where others want it all: a load that starves is no swap."""
_here: Final = threading.local()


def give_way() -> None:
    """From now on the calling thread lets others have the processors first, where threads have priorities (Linux)."""
    _here.gives_way = True
    if sys.platform == "linux":  # elsewhere the number may be another process
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)


def gives_way() -> bool:
    """Whether the calling thread does."""
    return getattr(_here, "gives_way", False)
