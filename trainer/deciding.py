"""Which options decide a trained model, and so whether two trainings are the same."""

import dataclasses
from collections.abc import Iterator
from typing import Any, Final

from trainer.config import TrainingConfig

_SECTIONS: Final = ("seed", "features", "model", "loss", "trainer")
_OF_THE_CHOICE: Final = ("evaluate.k", "trainer.eval_triggers", "trainer.patience")
"""What epochs and dial are chosen by, where there is a validation slice."""
_OF_NO_CONSEQUENCE: Final = ("trainer.tensorboard",)


def deciding_options(config: TrainingConfig, *, validated: bool) -> dict[str, Any]:
    """The options that decide a trained model, by full name.

    Args:
      config: as spelled out by `trainer.variants.as_variant`.
      validated: whether epochs and dial are chosen on a validation slice.
    """
    return {name: value for name, value in _options("", config) if _decides(name, validated)}


def _decides(name: str, validated: bool) -> bool:
    if name in _OF_THE_CHOICE:
        return validated
    return name.partition(".")[0] in _SECTIONS and name not in _OF_NO_CONSEQUENCE


def _options(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from _options(f"{name}.{field.name}".lstrip("."), getattr(value, field.name))
    else:
        yield name, value
