"""Dataclasses back from the JSON that `dataclasses.asdict` makes of them."""

import contextlib
import dataclasses
import types
import typing
from typing import Any


def typed(kind: Any, value: Any) -> Any:
    """A JSON value as the annotated kind: dataclasses, tuples, dictionaries, plain values, and any of them or None.

    Raises:
      ValueError, TypeError, KeyError: the value is of another kind, or fields are missing or unknown.
    """
    if typing.get_origin(kind) is types.UnionType:
        for part in typing.get_args(kind):
            with contextlib.suppress(ValueError, TypeError, KeyError):
                return typed(part, value)
        raise ValueError(f"{value!r:.40} is no {kind}")
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        return typing.cast(Any, kind)(**{name: typed(hints[name], part) for name, part in _of(dict, value).items()})
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is tuple:
        return tuple(typed(arguments[0], part) for part in _of(list, value))
    if origin is dict:
        return {name: typed(arguments[1], part) for name, part in _of(dict, value).items()}
    return _of(float | int if kind is float else kind, value)


def _of(kind: Any, value: Any) -> Any:
    if not isinstance(value, kind):
        raise ValueError(f"{value!r:.40} is no {getattr(kind, '__name__', kind)}")
    return value
