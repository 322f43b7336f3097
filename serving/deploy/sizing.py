"""How much memory a served model takes, from its card.

Of N items with two heads of d float32 each, every version holds the trigger, candidate and relevance vectors
(3 N d), the encoder with an embedding of each item (N d) and its tables of words, and its index:

- ``scann`` exact: both heads' vectors side by side (2 N d); tree: for each head the vectors for the exact rescoring
  and a code of 4 bits for every two dimensions (2 N d and N d / 2 bytes);
- ``stock`` exact: nothing more; partitions: each head's vectors again in the order of their partitions (2 N d).

The rest is ids, titles, categories and the table of ids, a share for what loading needs at once, and what requests
hold: a search scores its candidates in blocks of 32 MB whatever the batch, an answer takes some 370 bytes.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Final

from preprocessing.errors import UserError
from serving.flavours import SCANN, STOCK

_FLOAT: Final = 4
_TEXT_BYTES: Final = 400
"""Of an item: id, its entry in the table, title and categories."""
_ENCODER_BYTES: Final = 17_000_000
"""Of the encoder besides the items' embeddings, with the default number of buckets."""
_REQUESTS: Final = 256 << 20
"""Of requests that run: two with 200 rows at k = 1000 each, for instance."""
_LOADING: Final = 1.3
_PROCESS: Final = 400 << 20
_STEP: Final = 256 << 20


@dataclasses.dataclass(frozen=True)
class Size:
    """What decides the memory, as the model card tells.

    Attributes:
        items: N.
        dimension: d.
        kind: of the index, ``exact`` or ``tree``.
        flavour: `serving.flavours.SCANN` or `serving.flavours.STOCK`.
    """

    items: int
    dimension: int
    kind: str
    flavour: str

    @classmethod
    def of(cls, card: Any) -> "Size":
        """Reads ``assets.extra/mtmh.json`` of a version.

        Raises:
            UserError: it is no model card.
        """
        try:
            index: Mapping[str, Any] = card["index"]
            return cls(int(card["items"]), int(card["dimension"]), str(index["kind"]), str(index.get("flavour", SCANN)))
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"this is no model card ({error!r} in it): expected assets.extra/mtmh.json") from error

    @property
    def version_bytes(self) -> int:
        """Of one loaded version."""
        vectors = self.items * self.dimension * _FLOAT
        index = 0.0 if (self.flavour, self.kind) == (STOCK, "exact") else 2.0 * vectors
        if (self.flavour, self.kind) == (SCANN, "tree"):
            index += self.items * self.dimension / 2
        return math.ceil(4 * vectors + index + self.items * _TEXT_BYTES + _ENCODER_BYTES)

    def pod_bytes(self, versions: int) -> int:
        """Of a pod with so many versions in memory, in steps of 256 MiB."""
        needed = _PROCESS + _REQUESTS + _LOADING * versions * self.version_bytes
        return math.ceil(needed / _STEP) * _STEP
