"""Object stores on this machine, each a process of its own, for whoever needs a bucket."""

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator

BUCKET = "mtmh-test"


def _free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


@contextlib.contextmanager
def _running(command: list[str], address: str) -> Iterator[None]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(600):
            with contextlib.suppress(OSError):
                with contextlib.suppress(urllib.error.HTTPError):  # it answers
                    urllib.request.urlopen(address, timeout=1).close()
                break
            if process.poll() is not None:
                raise RuntimeError(f"{command} ended with {process.returncode}")
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait(10)


@contextlib.contextmanager
def _environment(**values: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextlib.contextmanager
def s3_server() -> Iterator[str]:
    """A server of S3's protocol with an empty bucket; its URL. The environment names it, as a user's would MinIO."""
    port = _free_port()
    address = f"http://127.0.0.1:{port}"
    environment = _environment(
        AWS_ENDPOINT_URL=address,
        AWS_ACCESS_KEY_ID="test",
        AWS_SECRET_ACCESS_KEY="test",
        AWS_DEFAULT_REGION="us-east-1",
        AWS_EC2_METADATA_DISABLED="true",
    )
    with environment, _running([sys.executable, "-m", "moto.server", "-p", str(port)], f"{address}/moto-api/"):
        from serving.stores.s3 import s3_client

        s3_client().create_bucket(Bucket=BUCKET)
        yield f"s3://{BUCKET}"


@contextlib.contextmanager
def gcs_server() -> Iterator[str]:
    """A server of Google Cloud Storage's protocol with an empty bucket; its URL."""
    port = _free_port()
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "gcp_storage_emulator", "start", "-H", "127.0.0.1", "-M", "-q"]
    with (
        _environment(STORAGE_EMULATOR_HOST=address, GOOGLE_CLOUD_PROJECT="test"),
        _running([*command, "--port", str(port), "--default-bucket", BUCKET], f"{address}/storage/v1/b"),
    ):
        yield f"gs://{BUCKET}"
