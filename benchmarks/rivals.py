"""The same vectors in other libraries: hnswlib and faiss, in this process and behind the same server.

They search concatenated vectors, ``[(1 - w) engagement, w relevance]`` against ``[engagement, relevance]``: the way to
put the dial into a library that knows inner products alone. What they leave out is said where they are printed: no
exclusions, no filters, no scores of the heads.

``python -m benchmarks.rivals --kind hnswlib --vectors vectors.npz --base DIRECTORY [--port N]`` serves one of them.
"""

import argparse
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from preprocessing.errors import UserError
from serving.server.servable import LoadedVersion, SignatureInfo, TensorInfo, find_signature
from serving.signatures import RETRIEVE
from serving.tensors import Plain

Array = NDArray[Any]
# Numbers of tensorflow.DataType.
_FLOAT: Final = 1
_INT32: Final = 3
_STRING: Final = 7


@dataclasses.dataclass(frozen=True)
class CatalogueVectors:
    """Ids [N], and vectors float32 [N, d] of the heads."""

    ids: Array
    trigger: Array
    candidate: Array
    relevance: Array

    @classmethod
    def of_version(cls, directory: Path) -> "CatalogueVectors":
        """Asks a SavedModel's ``embed`` for all items that it lists.

        Raises:
            UserError: it lists none.
        """
        listed = sorted(directory.glob("assets/*item_ids*"))
        if not listed:
            raise UserError(f"{directory}: no assets/item_ids.txt, so the catalogue's ids are not known")
        # Lines end in \n alone; ids may hold other marks that splitlines takes for ends.
        ids = np.array(listed[0].read_bytes().removesuffix(b"\n").split(b"\n"), object)
        model = LoadedVersion(0, directory)
        parts = [model.ask("embed", item_id=ids[start : start + 4096]) for start in range(0, len(ids), 4096)]
        model.close()
        names = ("engagement_trigger", "engagement_candidate", "relevance")
        return cls(ids, *(np.concatenate([part[name] for part in parts]) for name in names))

    def save(self, path: Path) -> None:
        """Writes them to a ``.npz`` file."""
        fields = dataclasses.asdict(self)
        np.savez(path, **{**fields, "ids": self.ids.astype(np.bytes_)})

    @classmethod
    def load(cls, path: Path) -> "CatalogueVectors":
        """Reads what `save` wrote."""
        with np.load(path) as stored:
            fields = {field.name: stored[field.name] for field in dataclasses.fields(cls)}
        return cls(**{**fields, "ids": fields["ids"].astype(object)})

    def queries(self, rows: Array, weights: Array) -> Array:
        """Concatenated queries of triggers, float32 [B, 2d], at weights [B]."""
        weights = np.asarray(weights, np.float32)[:, None]
        return np.concatenate([(1 - weights) * self.trigger[rows], weights * self.relevance[rows]], axis=1)

    def candidates(self) -> Array:
        """Concatenated candidates, float32 [N, 2d]."""
        return np.concatenate([self.candidate, self.relevance], axis=1)

    def exact(self, queries: Array, k: int) -> Array:
        """Rows of the largest products, int64 [B, k], in no order."""
        products = queries @ self.candidates().T
        return np.argpartition(-products, k, axis=1)[:, :k]


class Hnsw:
    """hnswlib: a graph."""

    def __init__(self, vectors: CatalogueVectors, search: int = 200) -> None:
        """Builds; ``search`` is ef, the length of the list that a search keeps."""
        hnswlib = _imported("hnswlib")
        candidates = vectors.candidates()
        self.name = f"hnswlib, M 16, ef {search}"
        self._index = hnswlib.Index(space="ip", dim=candidates.shape[1])
        self._index.init_index(max_elements=len(candidates), ef_construction=200, M=16)
        self._index.add_items(candidates)
        self._index.set_ef(search)
        self._index.set_num_threads(1)

    def search(self, queries: Array, k: int) -> tuple[Array, Array]:
        """Rows int64 and products float32, [B, k]."""
        rows, distances = self._index.knn_query(queries, k=k)
        return rows.astype(np.int64), 1.0 - distances


class Faiss:
    """faiss: partitions, exact products within those that are searched."""

    def __init__(self, vectors: CatalogueVectors, share: float = 0.2) -> None:
        """Builds; ``share`` of the partitions is searched."""
        faiss = _imported("faiss")
        faiss.omp_set_num_threads(1)
        candidates = vectors.candidates()
        partitions = max(1, round(len(candidates) ** 0.5))
        quantizer = faiss.IndexFlatIP(candidates.shape[1])
        self._index = faiss.IndexIVFFlat(quantizer, candidates.shape[1], partitions, faiss.METRIC_INNER_PRODUCT)
        self._index.train(candidates)
        self._index.add(candidates)
        self._index.nprobe = max(1, round(share * partitions))
        self.name = f"faiss IVF{partitions},Flat, nprobe {self._index.nprobe}"

    def search(self, queries: Array, k: int) -> tuple[Array, Array]:
        """Rows int64 and products float32, [B, k]."""
        products, rows = self._index.search(queries, k)
        return rows, products


RIVALS: Final = {"hnswlib": Hnsw, "faiss": Faiss}


def _imported(name: str) -> Any:
    import importlib

    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        package = {"faiss": "faiss-cpu"}.get(name, name)
        raise UserError(
            f"{name} is not installed: `.venv/bin/uv pip install {package} 'numpy<2'`, or leave it out of --rival"
        ) from error


class RivalVersion:
    """A rival in the place of a SavedModel: one signature, ``retrieve``, with fewer outputs."""

    def __init__(self, version: int, kind: str, vectors: CatalogueVectors) -> None:
        self.version = version
        self._vectors, self._index = vectors, RIVALS[kind](vectors)
        self._rows = {item_id: row for row, item_id in enumerate(vectors.ids.tolist())}
        inputs = {
            "item_id": TensorInfo(_STRING, (None, None)),
            "relevance_weight": TensorInfo(_FLOAT, (None,)),
            "k": TensorInfo(_INT32, (None,)),
            "exclude_id": TensorInfo(_STRING, (None, None)),
        }
        self.signatures: Mapping[str, SignatureInfo] = {
            RETRIEVE: SignatureInfo(RETRIEVE, dict(sorted(inputs.items())), ("item_id", "score"))
        }
        self.signature_def_map = b""
        self.metadata: dict[str, Any] = {}

    def signature(self, name: str) -> SignatureInfo:
        """The signature of that name."""
        return find_signature(self.signatures, name)

    def predict(self, signature: SignatureInfo, inputs: Mapping[str, Plain]) -> dict[str, Plain]:
        """Searches for the last trigger of each row, and drops it from the answer."""
        rows = np.array([self._rows[row[-1]] for row in inputs["item_id"].array()])
        k = int(inputs["k"].array().max())
        queries = self._vectors.queries(rows, inputs["relevance_weight"].array())
        found, scores = self._index.search(queries, k + 1)
        stay = found != rows[:, None]
        stay[stay.all(axis=1), -1] = False
        return {
            "item_id": Plain.of(self._vectors.ids[found[stay].reshape(-1, k)]),
            "score": Plain.of(scores[stay].reshape(-1, k).astype(np.float32)),
        }

    def close(self) -> None:
        """Nothing to give back before the process ends."""


def main() -> int:
    """Serves a rival until it is stopped."""
    from serving.server.config import ServerConfig
    from serving.server.serve import serve

    parser = argparse.ArgumentParser(prog="python -m benchmarks.rivals", description=main.__doc__)
    parser.add_argument("--kind", choices=sorted(RIVALS), required=True)
    parser.add_argument("--vectors", type=Path, required=True, help="what `CatalogueVectors.save` wrote")
    parser.add_argument("--base", type=Path, required=True, help="an empty directory, for the server to watch")
    parser.add_argument("--model-name", default="mtmh")
    parser.add_argument("--port", type=int, default=0)
    arguments = parser.parse_args()
    (arguments.base / "1").mkdir()
    (arguments.base / "1" / "saved_model.pb").touch()
    vectors = CatalogueVectors.load(arguments.vectors)
    config = ServerConfig(str(arguments.base), arguments.model_name, port=arguments.port, rest_port=-1)
    return serve(config, lambda version, path: RivalVersion(version, arguments.kind, vectors))


if __name__ == "__main__":
    raise SystemExit(main())
