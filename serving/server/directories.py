"""The version directories under a model's base path, and whether one is still being written."""

from pathlib import Path

from serving.version_manifest import MANIFEST, SAVED_MODEL, VersionManifest, digest_of_file, version_number

Fingerprint = tuple[tuple[str, int, int], ...]
"""Path, size in bytes and modification time in nanoseconds of every file."""


def find_versions(base: Path) -> dict[int, Path]:
    """The versions under a base path, by number; a directory without ``saved_model.pb`` is not one yet."""
    try:
        children = sorted(base.iterdir())
    except OSError:
        return {}
    numbers = ((version_number(child.name), child) for child in children)
    return {number: child for number, child in numbers if number is not None and (child / SAVED_MODEL).is_file()}


def read_manifest(path: Path) -> VersionManifest | None:
    """The manifest of a version's push; None where it brings none.

    Raises:
        ValueError: it cannot be read.
    """
    try:
        return VersionManifest.from_json((path / MANIFEST).read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ValueError(f"{MANIFEST} cannot be read ({error})") from error


def what_is_wrong(path: Path, manifest: VersionManifest) -> str:
    """What a version's manifest lists and is not there as listed, in words; empty where all is.

    For versions that come by a copy from elsewhere: it may pause for longer than two looks at it, or give a file its
    full size first. Sizes are looked at first, contents only where they all fit.
    """
    for file in manifest.files:
        try:
            size = (path / file.path).stat().st_size
        except OSError:
            return f"{file.path} is missing"
        if size != file.size:
            return f"{file.path} has {size:,} bytes of {file.size:,}"
    for file in manifest.files:
        try:
            found = digest_of_file(path / file.path, file.path)
        except OSError as error:
            return f"{file.path} cannot be read ({error.strerror})"
        if found != file:
            return f"{file.path} has another SHA-256 than its manifest says"
    return ""


def fingerprint(path: Path) -> Fingerprint:
    """What changes while a directory is written; empty when it cannot be read."""
    try:
        files = sorted(file for file in path.rglob("*") if file.is_file())
        stats = [(file, file.stat()) for file in files]
    except OSError:
        return ()
    return tuple((str(file.relative_to(path)), stat.st_size, stat.st_mtime_ns) for file, stat in stats)
