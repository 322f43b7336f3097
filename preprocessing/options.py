"""How configuration dataclasses declare an option: a default, and beside it documentation and bounds."""

import dataclasses
import math
from typing import Any

from preprocessing.errors import UserError


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


def within(value: float, minimum: float | None, above: float | None, maximum: float | None) -> bool:
    """Whether a number is finite and within the bounds that there are."""
    return (
        math.isfinite(value)
        and (minimum is None or value >= minimum)
        and (above is None or value > above)
        and (maximum is None or value <= maximum)
    )


def bounds_in_words(minimum: float | None, above: float | None, maximum: float | None) -> str:
    """What ``within`` asks for, such as ``at least 1 and at most 5``; empty without bounds."""
    bounds = (("at least", minimum), ("above", above), ("at most", maximum))
    return " and ".join(f"{word} {bound:,}" for word, bound in bounds if bound is not None)


def check_options(config: Any, prefix: str = "") -> None:
    """Checks every value of a configuration built in code against what its options declare.

    Raises:
      UserError: a value is out of bounds, or not among the choices.
    """
    for field in dataclasses.fields(config):
        name, value, declared = f"{prefix}{field.name}", getattr(config, field.name), field.metadata
        if dataclasses.is_dataclass(value):
            check_options(value, f"{name}.")
            continue
        choices = declared.get("choices", ())
        if choices and value not in choices and value != field.default:  # which may be None
            raise UserError(f"{name} is {value}; expected one of {', '.join(choices)}")
        bounds = [declared.get(bound) for bound in ("minimum", "above", "maximum")]
        for each in value if isinstance(value, tuple) else (value,):
            if isinstance(each, int | float) and not isinstance(each, bool) and not within(each, *bounds):
                raise UserError(f"{name} is {each}; expected a finite number {bounds_in_words(*bounds)}".rstrip())
