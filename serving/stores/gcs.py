"""A bucket of Google Cloud Storage."""

import contextlib
import datetime
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from preprocessing.errors import UserError
from serving.stores.objects import CHUNK


@contextlib.contextmanager
def _told(bucket: str, name: str = "") -> Iterator[None]:
    """Turns the client's errors into those of `serving.stores.objects`."""
    from google.api_core import exceptions
    from google.auth.exceptions import GoogleAuthError

    where = f"gs://{bucket}/{name}"
    try:
        yield
    except exceptions.NotFound as error:
        raise FileNotFoundError(f"{where} is not there") from error
    except GoogleAuthError as error:
        raise UserError(
            f"{where}: {error}; set GOOGLE_APPLICATION_CREDENTIALS, or run where a service account is at hand"
        ) from error
    except exceptions.GoogleAPIError as error:
        raise UserError(f"{where}: {error}; check the bucket's name and what the credentials may do") from error


class GcsStore:
    """One bucket, see `serving.stores.objects.ObjectStore`; what is sent is checked by CRC32C."""

    def __init__(self, bucket: str) -> None:
        """Args: the bucket's name."""
        from google.cloud import storage

        self._name = bucket
        with _told(bucket):
            self._client = storage.Client()
        self._bucket = self._client.bucket(bucket)

    def sizes(self, prefix: str) -> dict[str, int]:
        """Names and sizes."""
        return {blob.name: int(blob.size) for blob in self._listed(prefix)}

    def ages(self, prefix: str) -> dict[str, float]:
        """Names and ages."""
        now = datetime.datetime.now(datetime.timezone.utc)
        return {blob.name: (now - blob.updated).total_seconds() for blob in self._listed(prefix)}

    def _listed(self, prefix: str) -> Iterator[Any]:
        with _told(self._name, prefix):
            yield from self._client.list_blobs(self._bucket, prefix=prefix)

    def chunks(self, name: str) -> Iterator[bytes]:
        """An object's content."""
        with _told(self._name, name), self._bucket.blob(name).open("rb", chunk_size=CHUNK) as stream:
            while block := stream.read(CHUNK):
                yield block

    def create(self, name: str, data: bytes) -> bool:
        """Makes an object that is not there yet."""
        from google.api_core.exceptions import PreconditionFailed

        with _told(self._name, name):
            try:
                self._bucket.blob(name).upload_from_string(data, if_generation_match=0, checksum="crc32c")
            except PreconditionFailed:
                return False
        return True

    def write(self, name: str, data: bytes) -> None:
        """Makes or replaces an object."""
        with _told(self._name, name):
            self._bucket.blob(name).upload_from_string(data, checksum="crc32c")

    def upload(self, path: Path, name: str) -> None:
        """Makes or replaces an object."""
        with _told(self._name, name):
            self._bucket.blob(name).upload_from_filename(str(path), checksum="crc32c")

    def copy(self, source: str, target: str) -> None:
        """Copies within the store; a large object takes several calls."""
        with _told(self._name, source):
            token, _, _ = self._bucket.blob(target).rewrite(self._bucket.blob(source))
            while token is not None:
                token, _, _ = self._bucket.blob(target).rewrite(self._bucket.blob(source), token=token)

    def delete(self, names: Iterable[str]) -> None:
        """Deletes objects."""
        for name in names:
            with contextlib.suppress(FileNotFoundError), _told(self._name, name):
                self._bucket.blob(name).delete()
