"""Moves a finished output in place, so that nobody ever sees half of one."""

import contextlib
import os
import shutil
from collections.abc import Iterable, Iterator

from preprocessing.errors import UserError
from preprocessing.exchange import claim, exchange, followed, release, staged_name, sweep
from preprocessing.files import exists, filesystems, is_local
from preprocessing.schema import DEAD_LETTERS, MANIFEST

_REJECTED = ".rejected"


class Staging:
    """A directory beside the output that takes its place when all is written.

    Attributes:
      directory: where to write.
      rejected: where the dead letters of a failed run are left.
    """

    def __init__(self, output: str):
        """Names the directory.

        Raises:
          UserError: ``output`` is a file, or holds something that this program has not written.
        """
        self._output = output.rstrip("/")
        if not self._output:
            raise UserError("the output directory is empty text; expected a path")
        if is_local(self._output):
            self._output = followed(self._output)
            sweep(self._output)
        self.directory = staged_name(self._output)
        # The dead letters of a good output belong to it; those of a failed run must not mix with them.
        finished = exists(f"{self._output}/{MANIFEST}")
        self.rejected = self._output + (_REJECTED if finished else "")
        self._lock = -1
        if is_local(self._output):
            _check_replaceable(self._output)
            try:
                self._lock = claim(self.directory)
            except OSError as error:
                raise UserError(f"cannot write beside {output}: {error.strerror}") from error

    def publish(self, files: Iterable[str]) -> None:
        """Replaces the output by the staged files, given by their paths below the directory, manifest last."""
        if is_local(self._output):
            exchange(self.directory, self._output)
            return
        systems = filesystems()
        manifest = f"{self._output}/{MANIFEST}"
        # From here to the last line there is no manifest, so no reader takes the mixture for an output.
        if systems.exists(manifest):
            systems.delete([manifest])
        with contextlib.suppress(Exception):
            systems.delete([f"{self._output}/"])
        for path in files:
            self._move(path)
        self._move(MANIFEST)
        self.remove()

    def reject(self) -> None:
        """Leaves the dead letters, if any, and removes the rest."""
        if not is_local(self._output):
            systems = filesystems()
            (found,) = systems.match([f"{self.directory}/{DEAD_LETTERS}/*.jsonl"])
            for metadata in found.metadata_list:
                name = metadata.path.rsplit("/", 1)[1]
                target = f"{self.rejected}/{DEAD_LETTERS}/{name}"
                if systems.exists(target):
                    systems.delete([target])
                systems.rename([metadata.path], [target])
            self.remove()
            return
        staged = os.path.join(self.directory, DEAD_LETTERS)
        if os.path.isdir(staged):
            target = os.path.join(self.rejected, DEAD_LETTERS)
            shutil.rmtree(target, ignore_errors=True)
            os.makedirs(self.rejected, exist_ok=True)
            os.rename(staged, target)
        self.remove()

    def release(self) -> None:
        """Gives up the claim to the directory; so does the end of the process, however it ends."""
        release(self._lock)
        self._lock = -1

    def remove(self) -> None:
        """Removes what is staged."""
        if is_local(self.directory):
            shutil.rmtree(self.directory, ignore_errors=True)
        else:
            with contextlib.suppress(Exception):
                filesystems().delete([self.directory + "/"])

    def _move(self, path: str) -> None:
        systems = filesystems()
        source, target = f"{self.directory}/{path}", f"{self._output}/{path}"
        if systems.exists(target):
            systems.delete([target])
        systems.rename([source], [target])


@contextlib.contextmanager
def staged(output: str) -> Iterator[Staging]:
    """A staging directory that is rejected when the block raises."""
    staging = Staging(output)
    try:
        yield staging
    except KeyboardInterrupt:
        # What an interrupted run has found out about bad rows is not the whole truth.
        staging.remove()
        raise
    except BaseException:
        staging.reject()
        raise
    finally:
        staging.release()


def _check_replaceable(output: str) -> None:
    if not os.path.lexists(output):
        return
    if not os.path.isdir(output):
        raise UserError(f"{output} exists and is no directory; give another output directory")
    entries = {entry.name: entry.is_dir() for entry in os.scandir(output)}
    if MANIFEST not in entries and (set(entries) - {DEAD_LETTERS} or not entries.get(DEAD_LETTERS, True)):
        raise UserError(
            f"{output} holds files but no {MANIFEST}, so it is no earlier output that may be replaced; "
            "give another output directory or empty this one"
        )
