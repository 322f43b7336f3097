"""Small things done to files, on this machine or on any Beam filesystem."""

import contextlib
import os
import re
import uuid
from collections.abc import Iterator
from typing import IO, Any


def is_local(path: str) -> bool:
    """Whether ``path`` is on this machine's own filesystem."""
    return "://" not in path


def without_scheme(path: str) -> str:
    """A path on this machine as it is without ``file://``, which Beam knows no filesystem for; others as they are.

    >>> without_scheme("file:///logs/*.csv"), without_scheme("file://localhost/a.csv"), without_scheme("s3://b/*.csv")
    ('/logs/*.csv', '/a.csv', 's3://b/*.csv')
    """
    return re.sub("^file://(localhost(?=/))?", "", path)


def filesystems() -> Any:
    """Beam's filesystems; importing them takes seconds, which local paths are spared."""
    from apache_beam.io.filesystems import FileSystems
    from apache_beam.options.pipeline_options import PipelineOptions
    from apache_beam.options.value_provider import RuntimeValueProvider

    systems: Any = FileSystems
    # Beam gives them options when a pipeline is made; that of S3 lists nothing without any.
    if systems._pipeline_options is None and RuntimeValueProvider.runtime_options is None:
        systems.set_options(PipelineOptions([]))
    return systems


def exists(path: str) -> bool:
    """Whether there is a file at ``path``."""
    return os.path.isfile(path) if is_local(path) else bool(filesystems().exists(path))


def open_raw(path: str) -> Any:
    """Opens ``path`` for reading bytes, compressed ones as they are; raises ``OSError``."""
    if is_local(path):
        return open(path, "rb")
    from apache_beam.io.filesystem import CompressionTypes

    return filesystems().open(path, compression_type=CompressionTypes.UNCOMPRESSED)


@contextlib.contextmanager
def replacing(path: str) -> Iterator[IO[bytes]]:
    """Opens a file for writing that takes the name ``path`` when the block ends without an exception.

    Two attempts at the same work may overlap: each writes a file of its own and the later one wins.
    """
    temporary = f"{path}.{uuid.uuid4().hex}.part"
    if is_local(path):
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        try:
            with open(temporary, "wb") as stream:
                yield stream
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.remove(temporary)
            raise
        return
    from apache_beam.io.filesystem import CompressionTypes

    systems = filesystems()
    with systems.create(
        temporary, mime_type="application/octet-stream", compression_type=CompressionTypes.UNCOMPRESSED
    ) as remote:
        yield remote
    if systems.exists(path):
        systems.delete([path])
    systems.rename([temporary], [path])


def write_text(path: str, text: str) -> None:
    """Writes a whole UTF-8 file, replacing an earlier one."""
    with replacing(path) as stream:
        stream.write(text.encode("utf-8"))


def read_text(path: str) -> str:
    """Reads a whole UTF-8 file; raises ``OSError`` or ``UnicodeDecodeError``."""
    with open_raw(path) as stream:
        return bytes(stream.read()).decode("utf-8")
