"""A table for people, whatever shows it: a terminal, Markdown or a web page."""

import dataclasses
from collections.abc import Sequence
from typing import Any


@dataclasses.dataclass(frozen=True)
class Sheet:
    """A titled table of texts.

    Attributes:
      title: one line.
      header: titles of the columns; a line break stands where one may break.
      rows: as many cells each.
      notes: what the figures stand for, a sentence each.
      words: leading columns that hold words; the others hold figures and are aligned to the right.
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()
    words: int = 1


def rich_table(sheet: Sheet) -> Any:
    """The sheet as a `rich` table."""
    from rich.table import Table
    from rich.text import Text

    notes = Text("; ".join(sheet.notes), style="dim") if sheet.notes else None
    table = Table(
        title=Text(sheet.title, style="bold"), title_justify="left", caption=notes, caption_justify="left",
        box=None, pad_edge=False,
    )  # fmt: skip
    for place, title in enumerate(sheet.header):
        table.add_column(Text(title), justify="left" if place < sheet.words else "right", no_wrap=True)
    for row in sheet.rows:
        table.add_row(*(Text(cell) for cell in row))
    return table


def markdown(sheets: Sequence[Sheet]) -> str:
    """The sheets as Markdown, a section each."""
    parts = []
    for sheet in sheets:
        rule = ["---"] * sheet.words + ["---:"] * (len(sheet.header) - sheet.words)
        lines = [f"## {sheet.title}", "", _line(title.replace("\n", " ") for title in sheet.header), _line(rule)]
        lines += [_line(row) for row in sheet.rows]
        lines += ["", "; ".join(sheet.notes) + "."] if sheet.notes else []
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def _line(cells: Any) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
