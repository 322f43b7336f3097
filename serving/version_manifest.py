"""What a published version consists of: every file with its size and SHA-256, kept inside the version."""

import dataclasses
import datetime
import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

SAVED_MODEL: Final = "saved_model.pb"
"""The file that a loader opens first: a directory without it is no version yet."""
MANIFEST: Final = "assets.extra/mtmh-manifest.json"
MODEL_CARD: Final = "assets.extra/mtmh.json"
"""What a version was made of and what its index finds, as the export has written it."""
CONTENT: Final = "content"
"""Of the model card: a digest of all that decides the answers, see `serving.version_content`."""
WEIGHTS: Final = "weights"
"""Of the model card: the digest of the trained weights, see `trainer.artefact.weights_digest`."""
FORMAT_VERSION: Final = 1
_CHUNK: Final = 1 << 22
_WITHDRAWN_KEPT: Final = 100


@dataclasses.dataclass(frozen=True)
class VersionFile:
    """One file of a version: path below its directory with ``/``, size in bytes, SHA-256 in hexadecimal digits."""

    path: str
    size: int
    sha256: str


@dataclasses.dataclass(frozen=True)
class VersionManifest:
    """What a version holds and how it came there.

    Attributes:
      files: all but the manifest itself, by path.
      pushed: when, ISO 8601 in UTC; empty for a version that was made without a manifest.
      rollback_of: the version whose content a rollback repeated here.
      withdrawn: digests of contents that rollbacks have taken out of service and that no retry may bring back.
      content: digest of what it was made of, from its model card; empty where none is named.
    """

    files: tuple[VersionFile, ...]
    pushed: str = ""
    rollback_of: int | None = None
    withdrawn: tuple[str, ...] = ()
    content: str = ""

    @property
    def digest(self) -> str:
        """Names the content: equal for versions made of the same, or where none says of what, of equal files."""
        return self.content or self.files_digest

    @property
    def files_digest(self) -> str:
        """SHA-256 of the files: equal for equal files under equal names."""
        lines = "".join(f"{file.sha256} {file.path}\n" for file in self.files)
        return hashlib.sha256(lines.encode("utf-8")).hexdigest()

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    def stamped(self, rollback_of: int | None = None, withdrawn: Iterable[str] = ()) -> "VersionManifest":
        """The same content, pushed now."""
        now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
        left = tuple(withdrawn)[-_WITHDRAWN_KEPT:]
        return dataclasses.replace(self, pushed=now, rollback_of=rollback_of, withdrawn=left)

    def to_json(self) -> str:
        """As it is kept."""
        document = {"format_version": FORMAT_VERSION, "digest": self.files_digest, **dataclasses.asdict(self)}
        return json.dumps(document, indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> "VersionManifest":
        """Reads what `to_json` wrote.

        Raises:
          ValueError: it is damaged or of another format.
        """
        document: Any = json.loads(text)
        try:
            if document["format_version"] != FORMAT_VERSION:
                raise ValueError(f"a manifest of format {document['format_version']}")
            files = tuple(
                VersionFile(str(file["path"]), int(file["size"]), str(file["sha256"])) for file in document["files"]
            )
            of = document["rollback_of"]
            found = cls(
                files,
                str(document["pushed"]),
                None if of is None else int(of),
                tuple(map(str, document["withdrawn"])),
                str(document.get("content", "")),
            )
            if found.files_digest != document["digest"]:
                raise ValueError("a manifest whose own digest is another")
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a manifest: {error!r}") from error
        return found


def describe(directory: Path) -> VersionManifest:
    """The manifest of what lies in a directory, with the digests of its files as they are now."""
    files = []
    for path in _walk(directory):
        name = path.relative_to(directory).as_posix()
        if name != MANIFEST:
            files.append(digest_of_file(path, name))
    card = directory / MODEL_CARD
    content = content_of(card.read_bytes()) if card.is_file() else ""
    return VersionManifest(tuple(sorted(files, key=lambda file: file.path)), content=content)


def content_of(card: bytes) -> str:
    """The digest of what a version was made of, from its model card; empty where that names none."""
    try:
        document: Any = json.loads(card)
    except ValueError:
        return ""
    return str(document.get(CONTENT, "")) if isinstance(document, dict) else ""


def digest_of_file(path: Path, name: str) -> VersionFile:
    """The entry of a file on this machine."""
    return digest_of(name, _chunks(path))


def digest_of(name: str, chunks: Iterable[bytes]) -> VersionFile:
    """One file's entry, from its content."""
    size, digest = 0, hashlib.sha256()
    for chunk in chunks:
        size += len(chunk)
        digest.update(chunk)
    return VersionFile(name, size, digest.hexdigest())


def differences(expected: VersionManifest, found: VersionManifest) -> list[str]:
    """What is wrong with the files found, a line each; empty where they are those expected."""
    wanted, there = ({file.path: file for file in manifest.files} for manifest in (expected, found))
    lines = [f"{path} is missing" for path in sorted(wanted.keys() - there.keys())]
    lines += [f"{path} is not in the manifest" for path in sorted(there.keys() - wanted.keys())]
    for path in sorted(wanted.keys() & there.keys()):
        if wanted[path].size != there[path].size:
            lines.append(f"{path} has {there[path].size:,} bytes instead of {wanted[path].size:,}")
        elif wanted[path].sha256 != there[path].sha256:
            lines.append(f"{path} has another SHA-256 than the manifest says")
    return lines


def version_number(name: str) -> int | None:
    """The version that a directory name stands for, None where TF Serving takes it for none."""
    if not (name.isascii() and name.isdigit()):
        return None
    number = int(name)
    return number if number < 2**63 - 1 else None


def _walk(directory: Path) -> Iterator[Path]:
    for parent, _, names in os.walk(directory):
        for name in names:
            yield Path(parent) / name


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as stream:
        while block := stream.read(_CHUNK):
            yield block
