"""What follows from how often items are seen.

Where they are seldom seen, the teacher has much to say of what is engaged with; where they are seen often, engagement
speaks for itself, and what the teacher would add stands in its way. These are the defaults of what a configuration
leaves open; docs/quality.md has the measurements.
"""

from typing import Final

MOST_ALIGN: Final = 0.25
"""μ on sparse data."""
MOST_ID_DROPOUT: Final = 0.3
"""Share of items whose identity is hidden on sparse data."""
LEAST_ID_DROPOUT: Final = 0.1
"""And where co-engagement is all that is learnt, or the data dense."""


def _sparsity(triggers_per_item: float, sparse: float) -> float:
    """1 up to so many trigger events an item, then the less the more there are."""
    return min(1.0, sparse / max(triggers_per_item, 1e-9))


def align_weight(triggers_per_item: float) -> float:
    """Default of μ.

    >>> align_weight(5.0), round(align_weight(150.0), 3)
    (0.25, 0.008)
    """
    return MOST_ALIGN * _sparsity(triggers_per_item, 5.0)


def id_dropout(triggers_per_item: float) -> float:
    """Default of how often identities are hidden where the teacher is learnt too.

    >>> id_dropout(15.0), round(id_dropout(150.0), 2)
    (0.3, 0.12)
    """
    return LEAST_ID_DROPOUT + (MOST_ID_DROPOUT - LEAST_ID_DROPOUT) * _sparsity(triggers_per_item, 15.0)
