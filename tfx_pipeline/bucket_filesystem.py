"""TFX's file layer for ``s3://`` and ``minio://``, which TensorFlow 2.16 itself does not read.

`register` makes `tfx.dsl.io.fileio`, and so TFX's own components where they use it, read and write such artifacts.
Credentials and endpoint come from the environment, see `serving.stores.objects.open_store`.
"""

import fnmatch
import io
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from tfx.dsl.io import filesystem, filesystem_registry

from serving.stores.objects import CHUNK, ObjectStore, open_store, split_url

_PRIORITY: Final = 0
"""Before TFX's gfile plugin, which names s3:// too and cannot open it."""
_IN_MEMORY: Final = 32 << 20


class BucketFilesystem(filesystem.Filesystem):
    """Names with slashes taken for files in directories; a directory is there as long as something is in it."""

    SUPPORTED_SCHEMES: Final = ["s3://", "minio://"]

    @staticmethod
    def open(name: Any, mode: str = "r") -> Any:
        """Opens an object to read it, or a buffer that becomes one when it is closed."""
        store, key = _place(name)
        if mode in ("r", "rb"):
            file = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115 the caller closes it
            try:
                for chunk in store.chunks(key):
                    file.write(chunk)
            except FileNotFoundError as error:
                file.close()
                raise filesystem.NotFoundError(str(error)) from error
            file.seek(0)
            # A spooled file lacks what TextIOWrapper asks for.
            return file if mode == "rb" else io.StringIO(file.read().decode("utf-8"))
        if mode in ("w", "wb"):
            written = _Upload(store, key)
            return written if mode == "wb" else io.TextIOWrapper(written, "utf-8")
        raise ValueError(f"mode {mode!r}: an object is read or written as a whole, with 'r', 'rb', 'w' or 'wb'")

    @staticmethod
    def copy(src: Any, dst: Any, overwrite: bool = False) -> None:
        """Copies an object, within a bucket without moving its bytes here."""
        if not overwrite and BucketFilesystem.exists(dst):
            raise OSError(f"{_text(dst)} exists already and `overwrite` is false")
        source, source_key = _place(src)
        if split_url(_text(src))[:2] == split_url(_text(dst))[:2]:
            try:
                source.copy(source_key, _place(dst)[1])
            except FileNotFoundError as error:
                raise filesystem.NotFoundError(str(error)) from error
            return
        with BucketFilesystem.open(src, "rb") as reading, BucketFilesystem.open(dst, "wb") as writing:
            shutil.copyfileobj(reading, writing, CHUNK)

    @staticmethod
    def exists(path: Any) -> bool:
        """Whether there is an object of that name, or below it."""
        store, key = _place(path)
        return key in store.sizes(key) or BucketFilesystem.isdir(path)

    @staticmethod
    def glob(pattern: Any) -> list[str]:
        """Objects and directories whose names match, ``*`` and ``?`` within one part of the name."""
        text = _text(pattern)
        scheme, bucket, key = split_url(text)
        parts = key.split("/")
        fixed = next((number for number, part in enumerate(parts) if any(sign in part for sign in "*?[")), len(parts))
        if fixed == len(parts):
            return [text] if BucketFilesystem.exists(text) else []
        found = set()
        for name in _place(text)[0].sizes("".join(f"{part}/" for part in parts[:fixed])):
            split = name.split("/")[: len(parts)]
            if len(split) == len(parts) and all(map(fnmatch.fnmatchcase, split, parts)):
                found.add(f"{scheme}://{bucket}/{'/'.join(split)}")
        return sorted(found)

    @staticmethod
    def isdir(path: Any) -> bool:
        """Whether something is below that name."""
        store, key = _place(path)
        return bool(store.sizes(f"{key}/" if key else ""))

    @staticmethod
    def listdir(path: Any) -> list[str]:
        """Names of what is directly below."""
        for _, directories, files in BucketFilesystem._levels(path):
            return sorted([*directories, *files])
        raise filesystem.NotFoundError(f"{_text(path)} is not there")

    @staticmethod
    def makedirs(path: Any) -> None:
        """Nothing to do: directories come with what is in them."""

    @staticmethod
    def mkdir(path: Any) -> None:
        """Nothing to do, as for `makedirs`."""

    @staticmethod
    def remove(path: Any) -> None:
        """Removes an object."""
        store, key = _place(path)
        if key not in store.sizes(key):
            raise filesystem.NotFoundError(f"{_text(path)} is not there")
        store.delete([key])

    @staticmethod
    def rename(src: Any, dst: Any, overwrite: bool = False) -> None:
        """Copies and removes, one object after another: not in one step, as it would be on a disk."""
        store, key = _place(src)
        if key in store.sizes(key):
            BucketFilesystem.copy(src, dst, overwrite)
            store.delete([key])
            return
        below = [name.removeprefix(f"{key}/") for name in store.sizes(f"{key}/")]
        if not below:
            raise filesystem.NotFoundError(f"{_text(src)} is not there")
        for name in below:
            BucketFilesystem.copy(f"{_text(src).rstrip('/')}/{name}", f"{_text(dst).rstrip('/')}/{name}", overwrite)
        store.delete(f"{key}/{name}" for name in below)

    @staticmethod
    def rmtree(path: Any) -> None:
        """Removes all that is below."""
        store, key = _place(path)
        names = list(store.sizes(f"{key}/"))
        if not names:
            raise filesystem.NotFoundError(f"{_text(path)} is not there")
        store.delete(names)

    @staticmethod
    def stat(path: Any) -> Any:
        """An object's size, as ``st_size``."""
        store, key = _place(path)
        size = store.sizes(key).get(key)
        if size is None:
            raise filesystem.NotFoundError(f"{_text(path)} is not there")
        return os.stat_result((0o100644, 0, 0, 1, 0, 0, size, 0, 0, 0))

    @staticmethod
    def walk(
        top: Any, topdown: bool = True, onerror: Callable[..., None] | None = None
    ) -> Iterable[tuple[str, list[str], list[str]]]:
        """Directories with the names in them; none where there is nothing."""
        levels = BucketFilesystem._levels(top)
        return levels if topdown else reversed(list(levels))

    @staticmethod
    def _levels(top: Any) -> Iterator[tuple[str, list[str], list[str]]]:
        store, key = _place(top)
        base = _text(top).rstrip("/")
        prefix = f"{key}/" if key else ""
        levels: dict[str, tuple[set[str], list[str]]] = {}
        for name in store.sizes(prefix):
            *parents, file = name.removeprefix(prefix).split("/")
            for depth, parent in enumerate(parents):
                levels.setdefault("/".join(parents[:depth]), (set(), []))[0].add(parent)
            levels.setdefault("/".join(parents), (set(), []))[1].append(file)
        for level in sorted(levels, key=lambda path: path.split("/") if path else []):
            directories, files = levels[level]
            yield f"{base}/{level}".rstrip("/"), sorted(directories), sorted(files)


class _Upload(io.BufferedWriter):
    """A local file that becomes an object when it is closed."""

    def __init__(self, store: ObjectStore, key: str) -> None:
        handle, path = tempfile.mkstemp(prefix="mtmh-")
        super().__init__(io.FileIO(handle, "wb"))
        self._store, self._key, self._path = store, key, Path(path)

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if kind is not None:
            self._path.unlink(missing_ok=True)  # no object from a block that failed
        super().__exit__(kind, error, trace)

    def close(self) -> None:
        """Uploads what was written."""
        if self.closed:
            return
        super().close()
        if self._path.exists():
            try:
                self._store.upload(self._path, self._key)
            finally:
                self._path.unlink()


def register() -> None:
    """Lets TFX's file layer use these schemes; to be called before artifacts of such URIs are touched."""
    import tfx.dsl.io.fileio  # noqa: F401 its own plugins first

    filesystem_registry.DEFAULT_FILESYSTEM_REGISTRY.register(BucketFilesystem, priority=_PRIORITY)


def _text(path: Any) -> str:
    return path.decode("utf-8") if isinstance(path, bytes) else str(path)


def _place(path: Any) -> tuple[ObjectStore, str]:
    return open_store(_text(path))
