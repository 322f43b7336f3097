"""A bucket of Amazon S3 or of a store with its protocol, such as MinIO."""

import contextlib
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from preprocessing.errors import UserError
from serving.stores.objects import CHUNK

_MISSING = ("404", "NoSuchKey", "NotFound")
_THERE = ("PreconditionFailed", "ConditionalRequestConflict", "412", "409")


def s3_client() -> Any:
    """A client by the environment; a store of one's own is addressed by path, as its buckets have no names in DNS."""
    import boto3
    from botocore.config import Config

    own = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    config = Config(s3={"addressing_style": "path"} if own else None, retries={"mode": "standard", "max_attempts": 5})
    return boto3.client("s3", config=config)


@contextlib.contextmanager
def _told(bucket: str, name: str = "") -> Iterator[None]:
    """Turns the client's errors into those of `serving.stores.objects`."""
    from boto3.exceptions import Boto3Error
    from botocore import exceptions

    where = f"s3://{bucket}/{name}"
    try:
        yield
    except exceptions.ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        if code in _MISSING:
            raise FileNotFoundError(f"{where} is not there") from error
        raise UserError(f"{where}: {error}; check the bucket's name and what the credentials may do") from error
    except (exceptions.NoCredentialsError, exceptions.PartialCredentialsError) as error:
        raise UserError(
            f"{where}: {error}; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, for MinIO AWS_ENDPOINT_URL too"
        ) from error
    except Boto3Error as error:  # an upload that was refused is no ClientError any more
        raise UserError(f"{where}: {error}; check the bucket's name and what the credentials may do") from error
    except exceptions.BotoCoreError as error:
        raise UserError(f"{where}: {error}; check AWS_ENDPOINT_URL and the network") from error


class S3Store:
    """One bucket, see `serving.stores.objects.ObjectStore`; the client checks what it sends by CRC."""

    def __init__(self, bucket: str) -> None:
        """Args: the bucket's name."""
        self._bucket = bucket
        with _told(bucket):
            self._client = s3_client()

    def sizes(self, prefix: str) -> dict[str, int]:
        """Names and sizes."""
        return {entry["Key"]: int(entry["Size"]) for entry in self._listed(prefix)}

    def ages(self, prefix: str) -> dict[str, float]:
        """Names and ages."""
        now = time.time()
        return {entry["Key"]: now - entry["LastModified"].timestamp() for entry in self._listed(prefix)}

    def _listed(self, prefix: str) -> Iterator[dict[str, Any]]:
        with _told(self._bucket, prefix):
            for page in self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=prefix):
                yield from page.get("Contents", ())

    def chunks(self, name: str) -> Iterator[bytes]:
        """An object's content."""
        with _told(self._bucket, name):
            yield from self._client.get_object(Bucket=self._bucket, Key=name)["Body"].iter_chunks(CHUNK)

    def create(self, name: str, data: bytes) -> bool:
        """Makes an object that is not there yet."""
        from botocore.exceptions import ClientError

        with _told(self._bucket, name):
            try:
                self._client.put_object(Bucket=self._bucket, Key=name, Body=data, IfNoneMatch="*")
            except ClientError as error:
                if str(error.response.get("Error", {}).get("Code", "")) in _THERE:
                    return False
                raise
        return True

    def write(self, name: str, data: bytes) -> None:
        """Makes or replaces an object."""
        with _told(self._bucket, name):
            self._client.put_object(Bucket=self._bucket, Key=name, Body=data)

    def upload(self, path: Path, name: str) -> None:
        """Makes or replaces an object, a large one in parts."""
        with _told(self._bucket, name):
            self._client.upload_file(str(path), self._bucket, name)

    def copy(self, source: str, target: str) -> None:
        """Copies within the store, a large object in parts."""
        with _told(self._bucket, source):
            self._client.copy({"Bucket": self._bucket, "Key": source}, self._bucket, target)

    def delete(self, names: Iterable[str]) -> None:
        """Deletes objects."""
        for name in names:
            with contextlib.suppress(FileNotFoundError), _told(self._bucket, name):
                self._client.delete_object(Bucket=self._bucket, Key=name)
