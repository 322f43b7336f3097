"""What is wrong with the metadata of the pipeline, in words: SQLite's own faults reach us as errors of ML Metadata."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from ml_metadata import errors

from preprocessing.errors import UserError

_CONNECTION: Final = "Failed to establish connection to Metadata storage"
_AGAIN: Final = "the same command goes on from there"
_FULL: Final = "free some space; {again}"
_UNUSABLE: Final = "check the disk and the permissions of {root}; {again}"
_DAMAGED: Final = "remove {root} and run again: the cache is gone then, what is served and blessed stays"
_REMEDIES: Final = {
    "disk is full": _FULL,
    "disk I/O error": _UNUSABLE,
    "readonly database": _UNUSABLE,
    "unable to open database": _UNUSABLE,
    "is not a database": _DAMAGED,
    "disk image is malformed": _DAMAGED,
    "a subset of tables": _DAMAGED,
}
"""By what SQLite, or ML Metadata of its tables, says."""


@contextlib.contextmanager
def explained(root: Path) -> Iterator[None]:
    """Turns a fault of the metadata below ``root`` into one of the disk or of the file.

    Raises:
      UserError: instead of such a fault, with what can be done.
    """
    try:
        yield
    except (errors.StatusError, RuntimeError) as error:
        said = str(error)
        phrase = next((each for each in _REMEDIES if each in said), None)
        if phrase is None or not (isinstance(error, errors.StatusError) or said.startswith(_CONNECTION)):
            raise
        remedy = _REMEDIES[phrase].format(root=root, again=_AGAIN)
        raise UserError(f"the pipeline's metadata in {root} can't be used ({phrase}): {remedy}") from error
