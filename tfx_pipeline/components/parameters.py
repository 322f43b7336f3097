"""Execution parameters: a component's part of the configuration as JSON, lists of paths, and code versions.

A parameter is a string or a number, so that the cache key, the metadata and Kubeflow see it as it is.
"""

import dataclasses
import json
from collections.abc import Sequence
from typing import Any, Final, TypeVar, cast

from preprocessing.errors import UserError
from trainer.typed import typed

CONFIG: Final = "config"
CODE: Final = "code"
"""Parameter of every component of ours: the version of the code that it runs, see `tfx_pipeline.fingerprint`."""

_Config = TypeVar("_Config")


def to_json(config: Any) -> str:
    """A configuration dataclass as one line."""
    return json.dumps(dataclasses.asdict(config), sort_keys=True)


def from_json(kind: type[_Config], text: str) -> _Config:
    """The configuration back.

    Raises:
      UserError: the text is of another kind.
    """
    try:
        return cast(_Config, typed(kind, json.loads(text)))
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"a component's parameter is no {kind.__name__}: {error}; compile the pipeline again") from None


def paths_to_text(paths: Sequence[str]) -> str:
    """Several paths or patterns as one parameter."""
    return json.dumps(list(paths))


def paths_from_text(text: str) -> tuple[str, ...]:
    """Paths of a parameter: a JSON list, or one path as it is; none for an empty text.

    >>> paths_from_text("gs://logs/2026-11-25/*.csv")
    ('gs://logs/2026-11-25/*.csv',)
    """
    if not text:
        return ()
    if not text.startswith("["):
        return (text,)
    found = json.loads(text)
    if not isinstance(found, list) or not all(isinstance(path, str) for path in found):
        raise UserError(f"{text!r:.100} is no list of paths")
    return tuple(found)


def output_channels(spec: Any) -> dict[str, Any]:
    """A new channel for each output of a ComponentSpec class."""
    from tfx.types.channel import Channel

    return {name: Channel(type=parameter.type) for name, parameter in spec.OUTPUTS.items()}
