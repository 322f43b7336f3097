"""How far the teacher is listened to: from how often items are seen, and from what it knows.

Where items are seldom seen, the teacher has much to say of what is engaged with; where they are seen often, engagement
speaks for itself, and what the teacher would add stands in its way. So it does where what the teacher takes for alike
is hardly engaged with together. A teacher that points at a handful of items pulls harder than one that spreads its
word. These are the defaults of what a configuration leaves open; docs/quality.md has the measurements.

Density is told by the trigger events that there are for each item that occurs in them, so that what a catalogue lists
beside them changes nothing.
"""

import math
from typing import Final

MOST_ALIGN: Final = 0.2
"""μ on sparse data with a broad teacher."""
MOST_ID_DROPOUT: Final = 0.3
"""Share of items whose identity is hidden on sparse data."""
LEAST_ID_DROPOUT: Final = 0.1
"""And where the data are dense."""
MOST_ID_ELEMENT_DROPOUT: Final = 0.5
"""Share of an identity's elements that are dropped on sparse data."""
ALONE_ID_ELEMENT_DROPOUT: Final = 0.2
"""And where co-engagement is all that is learnt, but on the sparsest data."""

_BROAD = 30.0
_TELLING = 0.05
"""Nats that a teacher saves, see `trainer.teacher_gain`, which is listened to as far as any."""
_LEAST_SHARE = 0.01
"""Of that, what a teacher is taken for that saves nothing: without any pull, all that is rare gets popular answers."""


def _sparsity(triggers_per_item: float, sparse: float) -> float:
    """1 up to so many trigger events an item, then the less the more there are."""
    return min(1.0, sparse / max(triggers_per_item, 1e-9))


def _fading(triggers_per_item: float, whole: float, gone: float) -> float:
    """1 up to ``whole`` trigger events an item, 0 from ``gone`` on, a straight line between."""
    return min(1.0, max(0.0, (gone - triggers_per_item) / (gone - whole)))


def _share_of_telling(teacher_gain: float) -> float:
    """How far a teacher is listened to for what it saves."""
    return min(1.0, max(_LEAST_SHARE, teacher_gain / _TELLING))


def align_weight(triggers_per_item: float, teacher_breadth: float, teacher_gain: float) -> float:
    """Default of μ.

    >>> align_weight(5.0, 100.0, 0.08), round(align_weight(180.0, 100.0, 0.08), 3)
    (0.2, 0.01)
    >>> round(align_weight(5.0, 6.0, 0.08), 3), round(align_weight(5.0, 100.0, 0.01), 3)
    (0.04, 0.04)
    """
    return (
        MOST_ALIGN
        * _sparsity(triggers_per_item, 9.0)
        * min(1.0, teacher_breadth / _BROAD)
        * _share_of_telling(teacher_gain)
    )


def unseen_weight(teacher_gain: float) -> float:
    """What an item that was never a trigger weighs over one that was where μ has its default.

    A teacher that says little is all that there is to go by for such an item.

    >>> unseen_weight(0.05), unseen_weight(0.0125), unseen_weight(0.0)
    (1.0, 2.0, 10.0)
    """
    return 1.0 / math.sqrt(_share_of_telling(teacher_gain))


def id_dropout(triggers_per_item: float) -> float:
    """Default of how often identities are hidden where the teacher is learnt too.

    >>> id_dropout(15.0), round(id_dropout(150.0), 2)
    (0.3, 0.12)
    """
    return LEAST_ID_DROPOUT + (MOST_ID_DROPOUT - LEAST_ID_DROPOUT) * _sparsity(triggers_per_item, 15.0)


def id_element_dropout(triggers_per_item: float, most: float = MOST_ID_ELEMENT_DROPOUT) -> float:
    """Default of how much of each identity is dropped: few events say only roughly what an item is.

    Args:
      triggers_per_item: trigger events an item.
      most: what is dropped up to 15 of them; nothing from 45 on.

    >>> id_element_dropout(15.0), id_element_dropout(30.0), id_element_dropout(150.0)
    (0.5, 0.25, 0.0)
    """
    return most * _fading(triggers_per_item, 15.0, 45.0)


def alone_id_dropout(triggers_per_item: float) -> float:
    """Default of how often identities are hidden where co-engagement is all that is learnt, which needs them.

    >>> [round(alone_id_dropout(number), 2) for number in (5.0, 8.5, 12.0, 150.0)]
    [0.3, 0.2, 0.1, 0.1]
    """
    return LEAST_ID_DROPOUT + (MOST_ID_DROPOUT - LEAST_ID_DROPOUT) * _fading(triggers_per_item, 5.0, 12.0)


def alone_id_element_dropout(triggers_per_item: float) -> float:
    """Default of how much of each identity is dropped where co-engagement is all that is learnt.

    >>> [round(alone_id_element_dropout(number), 2) for number in (5.0, 8.0, 15.0, 150.0)]
    [0.5, 0.2, 0.2, 0.0]
    """
    most = MOST_ID_ELEMENT_DROPOUT - ALONE_ID_ELEMENT_DROPOUT
    return id_element_dropout(triggers_per_item, ALONE_ID_ELEMENT_DROPOUT) + most * _fading(triggers_per_item, 5.0, 8.0)


def unseen_rows(triggers_per_item: float, unseen: int, num_items: int, rows: int) -> int:
    """Default of how many items that were never a trigger are taught in a step: their due, where items are rarely seen.

    Args:
      triggers_per_item: trigger events an item; from twelve on, nothing is to be gained by them.
      unseen: how many of the items were never a trigger.
      num_items: N.
      rows: triggers of a step that are taught, and the most of what is returned.

    >>> [unseen_rows(5.0, unseen, 1000, 256) for unseen in (0, 100, 400, 900)]
    [0, 28, 171, 256]
    >>> [unseen_rows(triggers_per_item, 400, 1000, 256) for triggers_per_item in (9.0, 10.5, 12.0)]
    [171, 85, 0]
    """
    scarce = _fading(triggers_per_item, 9.0, 12.0)
    return round(scarce * min(rows, rows * unseen / max(1, num_items - unseen)))
