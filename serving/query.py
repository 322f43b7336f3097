"""``mtmh query``: one question to a running server, as a table for people or one JSON document for programs."""

import dataclasses
import difflib
import json
import sys
from collections.abc import Sequence
from typing import IO, Any, Final

from preprocessing.errors import UserError
from serving.client import DEFAULT_ADDRESS, DEFAULT_MODEL, Client, MissingSignatureError, Tls
from serving.results import Description, Result

_SAMPLE: Final = 200
"""Popular items whose categories are looked through for one that may be meant."""


@dataclasses.dataclass(frozen=True)
class Question:
    """What is asked: items that the model knows, or the words of one that it does not."""

    items: tuple[str, ...] = ()
    title: str = ""
    description: str = ""
    categories: tuple[str, ...] = ()
    k: int | None = None
    relevance_weight: float | None = None
    exclude: tuple[str, ...] = ()
    allow_categories: tuple[str, ...] = ()
    deny_categories: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Reply:
    """The answer with names.

    Attributes:
        question: what was asked.
        model: the model's name.
        version: the version that answered.
        triggers: descriptions of the question's items, in their order; empty ones without titles in the model.
        results: retrieved items, best first.
        descriptions: one for each result.
        is_fallback: whether no trigger is known, so that the results are popular items.
        remarks: sentences on categories that were asked for and no item has, where there are no results.
    """

    question: Question
    model: str
    version: int
    triggers: tuple[Description, ...]
    results: tuple[Result, ...]
    descriptions: tuple[Description, ...]
    is_fallback: bool
    remarks: tuple[str, ...] = ()


def query(
    question: Question,
    address: str = DEFAULT_ADDRESS,
    model: str = DEFAULT_MODEL,
    timeout: float = 10.0,
    *,
    tls: Tls | None = None,
    label: str = "",
) -> Reply:
    """Asks a server.

    Args:
        question: what is asked.
        address: ``host:port`` of its gRPC API.
        model: the model's name there.
        timeout: seconds that a call may take.
        tls: None for a connection in the clear.
        label: of the version to ask; empty for the latest.

    Raises:
        UserError: the question is neither of items nor of words or both, the server cannot be reached, or refuses.
    """
    words = bool(question.title or question.description or question.categories)
    if words == bool(question.items):
        raise UserError("ask with --item ID (once or more), or with --title TEXT for an item that the model never saw")
    if words and question.exclude:
        raise UserError("--exclude goes with --item only: the signature for --title takes no exclusions")
    if words and (question.allow_categories or question.deny_categories):
        raise UserError("--allow-category and --deny-category go with --item only: --title takes no filters")
    with Client(address, model, timeout, tls=tls, label=label) as client:
        if words:
            answer = client.retrieve_by_content(
                question.title,
                question.description,
                question.categories,
                k=question.k,
                relevance_weight=question.relevance_weight,
            )
        else:
            answer = client.retrieve(
                question.items,
                question.k,
                question.relevance_weight,
                question.exclude,
                allow_categories=question.allow_categories,
                deny_categories=question.deny_categories,
            )
        ids = [*question.items, *(result.item_id for result in answer.results)]
        descriptions = _describe(client, ids)
        remarks = () if answer.results else _remarks(client, question.allow_categories)
    asked = len(question.items)
    return Reply(
        question,
        model,
        answer.version,
        tuple(descriptions[:asked]),
        answer.results,
        tuple(descriptions[asked:]),
        answer.is_fallback,
        remarks,
    )


def _describe(client: Client, ids: Sequence[str]) -> list[Description]:
    try:
        return client.describe(ids)
    except MissingSignatureError:
        return [Description("", ()) for _ in ids]


def _remarks(client: Client, wanted: Sequence[str]) -> tuple[str, ...]:
    """A sentence on each category that no item has."""
    unknown = [each for each in wanted if not client.retrieve((), 1, allow_categories=(each,)).results]
    if not unknown:
        return ()
    popular = _describe(client, [result.item_id for result in client.retrieve((), _SAMPLE).results])
    spelled = {category.casefold(): category for item in popular for category in item.categories}
    remarks = []
    for each in unknown:
        near = difflib.get_close_matches(each.casefold(), spelled, n=1)
        hint = f"is {spelled[near[0]]!r} meant?" if near else "each letter counts, and its case"
        remarks.append(f"No item has the category {each!r}: {hint}")
    return tuple(remarks)


def heading(reply: Reply) -> str:
    """The triggers in one line, by title where there is one."""
    question = reply.question
    if not question.items:
        words = (question.title, question.description, ", ".join(question.categories))
        return f"new item: {' · '.join(part for part in words if part)}"
    parts = zip(question.items, reply.triggers, strict=True)
    return " + ".join(f"{each.title} [{item}]" if each.title else f"[{item}]" for item, each in parts)


def print_table(reply: Reply, stream: IO[str] | None = None) -> None:
    """Prints the answer for people: rank, item id, title, score, both heads' scores, which head found it."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    stream = stream or sys.stdout
    # Away from a terminal nothing is cut to a width: a file or a pipe takes whole titles.
    console = Console(file=stream, width=None if stream.isatty() else 200, highlight=False)
    weight = reply.question.relevance_weight
    dial = "the exported default" if weight is None else f"{weight:g}"
    console.print(Text(heading(reply), style="bold"))
    console.print(Text(f"model {reply.model} version {reply.version}, relevance weight {dial}", style="dim"))
    if reply.is_fallback:
        console.print(Text("Unknown to the model: these are its popular items.", style="yellow"))
    if not reply.results:
        console.print("No items.")
        for remark in reply.remarks:
            console.print(Text(remark, style="yellow"))
        return
    titled = any(each.title for each in reply.descriptions)
    table = Table(box=None, pad_edge=False)
    table.add_column("rank", justify="right")
    table.add_column("item id")
    if titled:
        table.add_column("title")
    for name in ("score", "engagement", "relevance"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("found by", no_wrap=True)
    for rank, (result, description) in enumerate(zip(reply.results, reply.descriptions, strict=True), 1):
        numbers = (result.score, result.engagement_score, result.relevance_score)
        titles = (Text(description.title),) if titled else ()
        cells = (Text(result.item_id), *titles, *(f"{number:.3f}" for number in numbers), result.source)
        table.add_row(str(rank), *cells)
    console.print(table)


def document(reply: Reply) -> dict[str, Any]:
    """The answer as ``--json`` prints it."""
    return {
        "model": reply.model,
        "version": reply.version,
        "k": reply.question.k,
        "relevance_weight": reply.question.relevance_weight,
        "popular_fallback": reply.is_fallback,
        "triggers": [
            {"item_id": item, **dataclasses.asdict(description)}
            for item, description in zip(reply.question.items, reply.triggers, strict=True)
        ],
        "results": [
            {"rank": rank, **dataclasses.asdict(result), **dataclasses.asdict(description)}
            for rank, (result, description) in enumerate(zip(reply.results, reply.descriptions, strict=True), 1)
        ],
    }


def print_json(reply: Reply, stream: IO[str] | None = None) -> None:
    """Prints the answer as one JSON document."""
    stream = stream or sys.stdout
    # Escaped where the stream's encoding may lack a title's letters.
    escape = not (getattr(stream, "encoding", None) or "utf-8").lower().startswith("utf")
    json.dump(document(reply), stream, ensure_ascii=escape, indent=2)
    stream.write("\n")
