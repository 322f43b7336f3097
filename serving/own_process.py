"""``mtmh`` in a process of its own, which runs the very code that asks for it."""

import sys
from typing import Final

_PATH: Final = "import sys; sys.path[:] = sys.argv.pop(1).split('\\n'); "
"""Before anything else is imported: Python would look in the current directory first, where anybody's ``serving`` may
lie."""
_TOGETHER: Final = "import ctypes, signal; ctypes.CDLL(None).prctl(1, signal.SIGKILL); "
"""PR_SET_PDEATHSIG: the system ends the process together with its parent."""
_RUN: Final = "from tfx_pipeline.cli import main; sys.exit(main())"


def mtmh_command(*words: str, together: bool = False) -> list[str]:
    """The command of a verb, which finds modules where this process does.

    Args:
      words: the verb and its arguments.
      together: whether it ends with this process, however that ends; nobody else would end it then.
    """
    return [sys.executable, "-c", f"{_PATH}{_TOGETHER if together else ''}{_RUN}", "\n".join(sys.path), *words]
