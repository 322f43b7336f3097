"""The replay of recorded requests on a version that is not available yet.

The first call of a fresh model builds executors and ScaNN's searcher; for a million items that took 1.6 s.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from google.protobuf.message import DecodeError

from preprocessing.tfrecord import unframe
from serving import wire
from serving.server.predict import predict
from serving.server.servable import Servable

WARMUP_FILE: Final = Path("assets.extra", "tf_serving_warmup_requests")
MAX_RECORDS: Final = 1000
"""TF Serving's own bound."""
_PIECE: Final = 1 << 20


def replay(loaded: Servable, path: Path) -> int:
    """Answers every recorded request once.

    Args:
        loaded: the version.
        path: its directory; without a file of warm-up requests there is nothing to do.

    Returns:
        How many requests were replayed.

    Raises:
        RequestError: the model refused a request.
        ValueError: the file is damaged, a record is no ``PredictionLog`` of a predict request, or there are too many.
    """
    file = path / WARMUP_FILE
    if not file.is_file():
        return 0
    count = 0
    for record in _records(file):
        if count == MAX_RECORDS:
            raise ValueError(f"{WARMUP_FILE}: more than {MAX_RECORDS} records")
        try:
            log = wire.PredictionLog.FromString(record)
        except DecodeError as error:
            raise ValueError(f"{WARMUP_FILE}: record {count} is not a PredictionLog") from error
        if not log.HasField("predict_log"):
            raise ValueError(f"{WARMUP_FILE}: record {count} is not a log of a predict request")
        predict(loaded, log.predict_log.request)
        count += 1
    return count


def _records(file: Path) -> Iterator[bytes]:
    with file.open("rb") as stream:
        try:
            yield from unframe(iter(lambda: stream.read(_PIECE), b""))
        except ValueError as error:
            raise ValueError(f"{WARMUP_FILE} is damaged: {error}") from error
