"""Objects of a bucket by name: the few operations that a push needs, whoever keeps the bucket."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, Protocol

from preprocessing.errors import UserError

_URL: Final = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<bucket>[^/]+)/*(?P<prefix>.*)")
CHUNK: Final = 1 << 22
"""Bytes that are in memory at once while an object is read."""


class ObjectStore(Protocol):
    """One bucket. Names have no leading slash; an object that is not there is a `FileNotFoundError`."""

    def sizes(self, prefix: str) -> dict[str, int]:
        """Names and sizes in bytes of the objects whose names begin with ``prefix``, in order of name."""

    def ages(self, prefix: str) -> dict[str, float]:
        """Names and ages in seconds, by the store's clock, of the objects whose names begin with ``prefix``."""

    def chunks(self, name: str) -> Iterator[bytes]:
        """An object's content."""

    def create(self, name: str, data: bytes) -> bool:
        """Makes an object that is not there yet; False where there is one, which is left as it is."""

    def write(self, name: str, data: bytes) -> None:
        """Makes or replaces an object."""

    def upload(self, path: Path, name: str) -> None:
        """Makes or replaces an object from a local file of any size."""

    def copy(self, source: str, target: str) -> None:
        """Copies an object within the store, without its bytes passing through here."""

    def delete(self, names: Iterable[str]) -> None:
        """Deletes objects, one after another; those that are not there are passed over."""


def read(store: ObjectStore, name: str) -> bytes:
    """An object's whole content."""
    return b"".join(store.chunks(name))


def is_bucket(url: str) -> bool:
    """Whether a path names something in a bucket rather than on this machine."""
    return "://" in url


def split_url(url: str) -> tuple[str, str, str]:
    """Scheme, bucket and name of ``s3://bucket/name``; the name without slashes at its ends.

    Raises:
      UserError: it is no such URL.
    """
    match = _URL.fullmatch(url)
    if not match:
        raise UserError(f"{url!r} names no bucket: expected s3://BUCKET/PATH, gs://BUCKET/PATH or a local directory")
    return match["scheme"], match["bucket"], match["prefix"].strip("/")


def open_store(url: str) -> tuple[ObjectStore, str]:
    """The bucket of a URL, and the name in it.

    Credentials, region and endpoint come from the environment, as the stores' own libraries look for them:
    ``AWS_ACCESS_KEY_ID``, ``AWS_SECRET_ACCESS_KEY``, ``AWS_ENDPOINT_URL`` (MinIO's address), or
    ``GOOGLE_APPLICATION_CREDENTIALS``.

    Raises:
      UserError: the URL is not understood, or of a store that is not known.
    """
    scheme, bucket, name = split_url(url)
    if scheme in ("s3", "minio"):
        from serving.stores.s3 import S3Store

        return S3Store(bucket), name
    if scheme == "gs":
        from serving.stores.gcs import GcsStore

        return GcsStore(bucket), name
    raise UserError(f"{url}: there is no store {scheme}://; expected s3://, gs:// or a local directory")
