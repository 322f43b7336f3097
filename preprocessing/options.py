"""How configuration dataclasses declare an option: a default, and beside it documentation and bounds."""

import dataclasses
from typing import Any


def option(
    default: Any,
    doc: str,
    *,
    choices: tuple[str, ...] = (),
    minimum: float | None = None,
    above: float | None = None,
    maximum: float | None = None,
) -> Any:
    """A dataclass field with a default, its documentation and the values that it admits.

    Args:
      default: value where the user names none.
      doc: one line for the configuration reference.
      choices: the allowed values of a closed set.
      minimum: least allowed number.
      above: bound that a number must exceed.
      maximum: greatest allowed number.
    """
    metadata = {"doc": doc, "choices": choices, "minimum": minimum, "above": above, "maximum": maximum}
    return dataclasses.field(default=default, metadata=metadata)


def section(kind: type, doc: str) -> Any:
    """A dataclass field that holds a nested section of options."""
    return dataclasses.field(default_factory=kind, metadata={"doc": doc})
