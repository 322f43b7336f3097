"""One small trained model, and what is exported of it."""

import dataclasses
import functools
import threading
from pathlib import Path

import numpy as np
import pytest

from preprocessing.read import ItemTable, read_items
from serving.config import ExportConfig, IndexConfig, RetrievalConfig, ServingConfig
from serving.export import ExportResult, export
from serving.flavours import SCANN, STOCK
from tests.serving.naive import DEFAULTS, Shelf, clustered
from tests.serving.server.server_process import ServerProcess
from tests.trainer.toys import SMALL, changed, item_table, write_examples
from trainer.names import BLEND, QUOTA
from trainer.train import train

ODD_IDS = ["item one", "Item one", "a\u2028b", "x\x85y", "🎬", 'quo"te', "tab\there", "ünï"]
CONFIG = ServingConfig(retrieval=RetrievalConfig(k=7, max_k=30, relevance_weight=0.3))


@dataclasses.dataclass(frozen=True)
class Trained:
    """Preprocessed examples, the model that learnt from them, and the catalogue."""

    examples: Path
    model: Path
    items: ItemTable


@dataclasses.dataclass(frozen=True)
class Exported:
    """An export, the base directory, and the names that stood there while it was made."""

    result: ExportResult
    base: Path
    seen: list[set[str]]
    config: ServingConfig

    @property
    def directory(self) -> Path:
        return self.result.directory


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> Trained:
    number = 60
    rng = np.random.default_rng(0)
    content = rng.normal(size=(number, 6))
    content /= np.linalg.norm(content, axis=1, keepdims=True)
    content[-1] = 0.0
    ids = sorted([f"i{row:02d}" for row in range(number - len(ODD_IDS))] + ODD_IDS, key=str.encode)
    table = item_table(
        [f"{'red' if row % 2 else 'blue'} thing {row}" for row in range(number)],
        [["red" if row % 2 else "blue", "things"] for row in range(number)],
        content,
        interaction_count=[3 * number - row for row in range(number)],
        ids=ids,
    )
    events = [(row, [(row + 2) % number, (row + 4) % number]) for row in range(number)]
    examples = write_examples(tmp_path_factory.mktemp("examples"), table, events * 3, events)
    config = changed(SMALL, trainer={"epochs": 1, "batch_size": 64})
    result = train(examples, tmp_path_factory.mktemp("training"), config)
    return Trained(examples, result.model, read_items(str(examples)))


def watched_export(trained: Trained, base: Path, config: ServingConfig) -> Exported:
    """Exports, while another thread looks at the base directory."""
    seen: list[set[str]] = []
    done = threading.Event()

    def watch():
        while not done.wait(0.005):
            if base.is_dir():
                for path in base.iterdir():
                    if path.name.isdigit():
                        seen.append({str(file.relative_to(path)) for file in path.rglob("*") if file.is_file()})

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        result = export(trained.examples, trained.model, base, config)
    finally:
        done.wait(0.05)
        done.set()
        thread.join()
    return Exported(result, base, seen, config)


@pytest.fixture(scope="session")
def exported_exact(trained, tmp_path_factory) -> Exported:
    return watched_export(trained, tmp_path_factory.mktemp("exact") / "mtmh", CONFIG)


@pytest.fixture(scope="session")
def exported_tree(trained, tmp_path_factory) -> Exported:
    """Both flavours."""
    config = dataclasses.replace(CONFIG, index=IndexConfig(kind="tree"), export=ExportConfig(stock=True))
    return watched_export(trained, tmp_path_factory.mktemp("tree") / "mtmh", config)


@pytest.fixture(scope="session", params=["exact", "tree"])
def exported(request) -> Exported:
    """Both kinds."""
    return request.getfixturevalue(f"exported_{request.param}")


@pytest.fixture(scope="session")
def trained_server(exported_exact):
    """A server of one version, for tests that leave it as it is."""
    process = ServerProcess.start(exported_exact.base, explorer=True).wait_ready()
    yield process
    assert process.stop() == 0


SHELVES = {
    "scann-tree": (SCANN, "tree", BLEND),
    "stock-tree": (STOCK, "tree", QUOTA),
    "stock-exact": (STOCK, "exact", BLEND),
}
CATEGORIES = {"half": 0.5, "twentieth": 0.05, "rare": 0.005, "ünï | cödé": 0.1}
"""Names, and the chance of an item to have it."""


@pytest.fixture(scope="session")
def filtered_shelf(tmp_path_factory):
    """By name of `SHELVES`: 2,000 items, some with odd ids, in categories of all sizes."""

    @functools.cache
    def shelf(name: str) -> Shelf:
        flavour, kind, merge = SHELVES[name]
        rng = np.random.default_rng(7)
        ids = [f"i{row}" for row in range(1980)] + [*ODD_IDS, "x" * 10_000, "🎬" * 2500, *map(str, range(10))]
        categories = [tuple(name for name, chance in CATEGORIES.items() if rng.random() < chance) for _ in ids]
        return Shelf(
            tmp_path_factory.mktemp("filtered"),
            ids,
            clustered(len(ids)),
            kind=kind,
            flavour=flavour,
            defaults=dataclasses.replace(DEFAULTS, max_k=2100, merge=merge),
            categories=categories,
        )

    return shelf
