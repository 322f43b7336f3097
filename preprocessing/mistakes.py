"""Users' mistakes met inside Beam, handed on as values.

An exception in a worker is retried, printed with its traceback by the worker itself, and comes back from many runners
as text. So a step that meets a ``UserError`` yields a ``Mistake`` instead of its result, the steps after it hand it
on, and the launcher raises it.
"""

import dataclasses
import errno
import functools
import inspect
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from apache_beam.pvalue import TaggedOutput

from preprocessing.errors import UserError

Process = Callable[..., Iterator[Any]]
_LASTING: Final = {
    errno.ENOSPC: "free some space or name another directory",
    errno.EDQUOT: "free some space or name another directory",
    errno.EROFS: "name another directory",
    errno.EACCES: "make it writable or name another directory",
    errno.EPERM: "make it writable or name another directory",
}
"""Faults of a filesystem that no further try mends, with their remedy."""


@dataclasses.dataclass(frozen=True)
class Mistake:
    """The message of a ``UserError``."""

    message: str


def first_mistake(values: Iterable[Any]) -> Mistake | None:
    """The first mistake among values, in the order of their messages, so that it does not depend on the runner."""
    return min(
        (value for value in values if isinstance(value, Mistake)), key=lambda mistake: mistake.message, default=None
    )


def hands_on_mistakes(*tags: str) -> Callable[[Process], Process]:
    """Decorates the ``process`` of a DoFn with a ``_job``: a mistake in its arguments or its work becomes its output.

    Args:
      *tags: the tagged outputs that get the mistake; none stands for the main output.
    """

    def outputs(mistake: Mistake) -> Iterator[Any]:
        yield from (TaggedOutput(tag, mistake) for tag in tags) if tags else (mistake,)

    def decorate(work: Process) -> Process:
        @functools.wraps(work)
        def process(self: Any, *args: Any) -> Iterator[Any]:
            mistake = next((arg for arg in args if isinstance(arg, Mistake)), None)
            if mistake is None:
                try:
                    yield from work(self, *args)
                    return
                except UserError as error:
                    mistake = Mistake(str(error))
                except OSError as error:
                    mistake = lasting_fault(error, self._job.rejected)
            yield from outputs(mistake)

        process.__signature__ = _without_types(work)  # type: ignore[attr-defined]
        return process

    return decorate


def lasting_fault(error: OSError, directory: str) -> Mistake:
    """The mistake behind a fault of the filesystem below ``directory``; raises the error where another try may do."""
    if error.errno not in _LASTING:
        raise error
    return Mistake(f"cannot write to {directory}: {error.strerror}; {_LASTING[error.errno]}")


def _without_types(work: Process) -> inspect.Signature:
    """The signature that Beam goes by, without annotations: it would take them to rule out a mistake."""
    signature = inspect.signature(work)
    bare = [parameter.replace(annotation=parameter.empty) for parameter in signature.parameters.values()]
    return signature.replace(parameters=bare, return_annotation=signature.empty)
