"""Where a run keeps what it makes."""

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from preprocessing.errors import UserError
from preprocessing.files import write_text
from tfx_pipeline.config import RunConfig, dump_config, load_config

_PATTERN: Final = "*?[\\"
_MAY_DIFFER: Final = ("seed", "features", "output")


@dataclasses.dataclass(frozen=True)
class Workdir:
    """The directories and files of a run below one directory."""

    root: Path

    def require_plain_path(self) -> None:
        """Raises `UserError` where the path reads as a pattern, for TFX looks for its artifacts by patterns."""
        path = str(self.root.absolute())
        found = [mark for mark in _PATTERN if mark in path]
        if found:
            raise UserError(
                f"the work directory {path} has {' and '.join(found)} in its path, which TFX takes for a pattern; "
                "name another one with --workdir"
            )

    @property
    def config(self) -> Path:
        """The resolved configuration."""
        return self.root / "config.yaml"

    @property
    def examples(self) -> Path:
        """The preprocessing's output."""
        return self.root / "examples"

    @property
    def inputs(self) -> Path:
        """Fingerprint of what the examples were made of."""
        return self.root / "examples.inputs.json"

    @property
    def preprocessing_lock(self) -> Path:
        """Held while examples are made; inside, as nobody need be allowed to write beside a work directory."""
        return self.root / ".preprocessing.lock"

    @property
    def serving(self) -> Path:
        """Versions of the exported model."""
        return self.root / "serving" / "mtmh"

    @property
    def pipeline(self) -> Path:
        """Artifacts and metadata of `mtmh run`."""
        return self.root / "pipeline"

    @property
    def blessed(self) -> Path:
        """Records of what was pushed, see `tfx_pipeline.blessed`."""
        return self.root / "blessed"

    def training(self, model: str) -> Path:
        """One model's training: checkpoints, TensorBoard logs, result."""
        return self.root / "training" / model

    def model(self, model: str) -> Path:
        """A trained model."""
        return self.training(model) / "model"

    def metrics(self, model: str) -> Path:
        """A model's metrics as JSON."""
        return self.root / "metrics" / f"{model}.json"

    @property
    def comparison(self) -> Path:
        """Tables and pictures of the models side by side."""
        return self.root / "comparison"

    @property
    def tuning(self) -> Path:
        """Trials of a tuning, and the best options that it found."""
        return self.root / "tuning"

    def prepare(self) -> None:
        """Creates the directory.

        Raises:
          UserError: it cannot be created or written to.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"cannot create the work directory {self.root}: {error.strerror}") from None
        if not os.access(self.root, os.W_OK):
            raise UserError(f"the work directory {self.root} is not writable; name another with --workdir")

    def require_examples(self, config: RunConfig) -> None:
        """Checks that a preprocessing has finished, and that it was made with this configuration.

        Raises:
          UserError: it was not. Seed, features and sharding may differ: experiments vary them on the same examples.
        """
        from preprocessing.manifest import load_manifest

        if not (self.examples / "manifest.json").exists():
            raise UserError(f"{self.root} holds no examples; run `mtmh preprocess --workdir {self.root}` first")
        made_with = load_manifest(str(self.examples)).config
        for name, wanted in _flat(dataclasses.asdict(config.preprocessing)):
            if name.split(".")[0] not in _MAY_DIFFER and _look_up(made_with, name) != wanted:
                raise UserError(
                    f"`{name}` is {wanted!r}, but the examples in {self.examples} were made with "
                    f"{_look_up(made_with, name)!r}; run `mtmh preprocess` with the new value, or leave it"
                )

    def load_config(self, path: str | None, overrides: Sequence[str]) -> RunConfig:
        """The configuration of a step: ``path``, else the run's own, else defaults; with overrides."""
        if path is None and self.config.exists():
            path = str(self.config)
        return load_config(path, overrides)

    def store_config(self, config: RunConfig) -> None:
        """Keeps the resolved configuration with the run."""
        write_whole(self.config, dump_config(config))


def write_whole(path: Path, text: str) -> None:
    """Writes a file that takes its name when it is complete.

    Raises:
      UserError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(str(path), text)
    except OSError as error:
        raise UserError(
            f"cannot write {path}: {error.strerror}; free the place for it or name another directory with --workdir"
        ) from error


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Full names and values of a configuration's options, as JSON gives them back."""
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", list(value) if isinstance(value, tuple) else value


def _look_up(tree: Any, name: str) -> Any:
    for part in name.split("."):
        tree = tree.get(part) if isinstance(tree, dict) else None
    return tree


def input_fingerprint(config: RunConfig, tables: Mapping[str, Sequence[str]]) -> str:
    """Identifies what examples are made of: the configuration, and path, size and time of every local input file.

    Args:
      config: of the run.
      tables: patterns by table; one without any is left out.

    Raises:
      UserError: a pattern matches nothing.
    """
    from preprocessing.sources import find_sources

    files = []
    for table, patterns in sorted(tables.items()):
        for source in find_sources(table, patterns, config.input) if patterns else ():
            try:
                status = os.stat(source.path)
                files.append([table, source.path, status.st_size, status.st_mtime_ns])
            except OSError:
                files.append([table, source.path, -1, -1])
    document = json.dumps([dataclasses.asdict(config.preprocessing), files], sort_keys=True)
    return hashlib.sha256(document.encode("utf-8")).hexdigest()
