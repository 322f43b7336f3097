"""Finds items of a catalogue by words of their titles, in memory.

Titles lie in one string, a line each: `str.find` runs over a million of them in tens of milliseconds, and nothing has
to be kept in step with the model but that string.
"""

import bisect
import itertools
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Final

_LOOKED_AT: Final = 2000
"""Matches that are ranked; more of them say that the query is too short to be ranked well."""


def fold(text: str) -> str:
    """Text as it is compared: one line, without case and accents."""
    decomposed = unicodedata.normalize("NFKD", text)
    plain = "".join(letter for letter in decomposed if not unicodedata.combining(letter))
    return " ".join(plain.casefold().split())


class TitleSearch:
    """A catalogue of N items that is searched by words."""

    def __init__(self, ids: Sequence[str], titles: Sequence[str]) -> None:
        """Args are N ids and N titles; an item is found by either."""
        self.ids = ids
        lines = [f"{fold(title)} \t{fold(item_id)}\n" for item_id, title in zip(ids, titles, strict=True)]
        self._starts = list(itertools.accumulate((len(line) for line in lines), initial=0))[:-1]
        self._text = "".join(lines)

    def find(self, query: str, most: int) -> list[int]:
        """Rows of the items that hold every word of the query, the best first.

        Better is: the id itself, then a title that begins with the query, then one with a word that does, then the
        shorter one.
        """
        folded = fold(query)
        words = folded.split()
        if not words:
            return []
        matches = itertools.islice(self._matches(words), _LOOKED_AT)
        return [row for _, row in sorted((self._rank(row, folded), row) for row in matches)[:most]]

    def _matches(self, words: Sequence[str]) -> Iterator[int]:
        rarest = max(words, key=len)
        at = self._text.find(rarest)
        while at >= 0:
            row = bisect.bisect_right(self._starts, at) - 1
            line = self._line(row)
            if all(word in line for word in words):
                yield row
            at = self._text.find(rarest, self._starts[row] + len(line))

    def _line(self, row: int) -> str:
        end = self._starts[row + 1] if row + 1 < len(self._starts) else len(self._text)
        return self._text[self._starts[row] : end]

    def _rank(self, row: int, query: str) -> tuple[int, int]:
        title, _, item_id = self._line(row).rstrip("\n").partition(" \t")
        if item_id == query:
            return 0, 0
        if title.startswith(query):
            return 1, len(title)
        return 2 if f" {query}" in title else 3, len(title)
