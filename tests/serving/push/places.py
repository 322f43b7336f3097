"""Where versions are pushed to, and what stands for them."""

import json
import os
from pathlib import Path

from serving.stores.objects import open_store, read


def model(directory: Path, content: str, parts: int = 3, made_of: str = "") -> Path:
    """Something that stands for a SavedModel, and the name of what it was made of."""
    (directory / "variables").mkdir(parents=True)
    (directory / "assets.extra").mkdir()
    for part in range(parts):
        (directory / "variables" / f"part-{part}").write_text(f"{content}-{part}" * 500)
    (directory / "assets.extra" / "mtmh.json").write_text(json.dumps({"content": made_of} if made_of else {}))
    (directory / "saved_model.pb").write_text(content)
    return directory


class Place:
    """A base path for versions, on a disk or in a bucket, and how a loader would look at it."""

    def __init__(self, base: str) -> None:
        self.base = base
        self.bucket = "://" in base
        self._opened = open_store(base) if self.bucket else None

    def files(self) -> list[str]:
        """Names below the base, as a reader lists them."""
        if self._opened:
            store, prefix = self._opened
            return [name.removeprefix(f"{prefix}/") for name in store.sizes(f"{prefix}/")]
        walked = os.walk(self.base)
        return [os.path.relpath(os.path.join(parent, name), self.base) for parent, _, names in walked for name in names]

    def read(self, name: str) -> bytes:
        if self._opened:
            store, prefix = self._opened
            return read(store, f"{prefix}/{name}")
        return (Path(self.base) / name).read_bytes()

    def write(self, name: str, data: bytes) -> None:
        if self._opened:
            store, prefix = self._opened
            store.write(f"{prefix}/{name}", data)
        else:
            path = Path(self.base) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)

    def loadable(self) -> dict[int, set[str]]:
        """Files of each number with the file that a loader opens first."""
        found: dict[int, set[str]] = {}
        for name in self.files():
            number, _, rest = name.partition("/")
            if number.isdigit():
                found.setdefault(int(number), set()).add(rest)
        return {number: names for number, names in found.items() if "saved_model.pb" in names}

    def content(self, version: int) -> str:
        return self.read(f"{version}/saved_model.pb").decode()
