"""The explorer: a page that shows what the model answers, for people (``mtmh serve --explorer``).

The page asks the model over the REST API as any client does; here are the page itself, what the model is called, and
the search by title, which no signature of the model offers. Titles, ids and categories are whatever a catalogue holds:
the page writes them as text only, and its policy lets nothing run or load but its own script and style.
"""

import asyncio
import base64
import functools
import hashlib
import json
import logging
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from aiohttp import web

from serving.results import text
from serving.server.directories import find_versions
from serving.server.errors import invalid
from serving.server.gate import Gate
from serving.server.roster import Choice, Roster
from serving.server.servable import Servable
from serving.server.title_search import TitleSearch
from serving.signatures import DESCRIBE
from serving.tensors import STRING, Plain
from serving.version_manifest import MODEL_CARD

_log = logging.getLogger("mtmh.serving")

PATH: Final = "/explorer"
_PAGE: Final = Path(__file__).with_name("explorer_page")
_ID_FILES: Final = "assets/item_ids*"
_DESCRIBED_AT_ONCE: Final = 20_000
_MOST_HITS: Final = 20
_LONGEST_QUERY: Final = 200
_RUNNING, _WAITING, _PATIENCE = 2, 16, 60.0
"""Searches at a time, those that may wait, and seconds of it: the first search of a version reads all its titles."""


@functools.cache
def page() -> tuple[bytes, dict[str, str]]:
    """The page, one document without anything outside it, and its headers."""
    style, script = (_PAGE.joinpath(name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    document = _PAGE.joinpath("page.html").read_text(encoding="utf-8")
    document = document.replace("/* style */", style).replace("/* script */", script)
    policy = (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    headers = {
        "Content-Security-Policy": policy,
        "X-Frame-Options": "DENY",
        "Cross-Origin-Opener-Policy": "same-origin",
    }
    return document.encode(), headers


def _hash(content: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}"


class Explorer:
    """The routes of the explorer over the versions of one model."""

    def __init__(self, roster: Roster, name: str, base: Path) -> None:
        """Args are the versions that answer, the model's name and its base path."""
        self._roster, self._choice, self._base = roster, Choice(name), base
        # Its own, beside the API's: what people look for must not delay what callers ask.
        self._gate = Gate(_RUNNING, _WAITING, _PATIENCE)
        self._pool = ThreadPoolExecutor(self._gate.capacity, thread_name_prefix="mtmh-explorer")
        self._lock = threading.Lock()
        self._search: tuple[int, TitleSearch] | None = None

    def routes(self) -> list[web.RouteDef]:
        """The page and what it asks for, all GET."""

        async def show(request: web.Request) -> web.Response:
            body, headers = page()
            return _response(body, "text/html", headers)

        def answered(answer: Callable[[str], Any]) -> Callable[[web.Request], Awaitable[web.Response]]:
            async def handle(request: web.Request) -> web.Response:
                query = request.query.get("q", "")
                document = await asyncio.wrap_future(self._pool.submit(answer, query))
                return _response(json.dumps(document, ensure_ascii=False).encode(), "application/json")

            return handle

        return [
            web.get(PATH, show),
            web.get(f"{PATH}/model", answered(lambda query: self.model())),
            web.get(f"{PATH}/search", answered(self.search)),
        ]

    def model(self) -> dict[str, Any]:
        """The model's name, the version that answers, its number of items and its defaults.

        Raises:
            RequestError: no version answers yet.
        """
        with self._roster.acquire(self._choice) as loaded:
            card = self._card(loaded.version)
        defaults = card.get("defaults", {})
        return {
            "model": self._choice.name,
            "version": loaded.version,
            "items": card.get("items"),
            "merge": defaults.get("merge"),
            "relevance_weight": defaults.get("relevance_weight"),
        }

    def search(self, query: str) -> dict[str, Any]:
        """Items whose title or id holds every word of the query, the best first.

        Raises:
            RequestError: the query is too long, no version answers yet, or too many requests wait.
        """
        if len(query) > _LONGEST_QUERY:
            raise invalid(f"q: {len(query)} characters, at most {_LONGEST_QUERY} are allowed")
        with self._gate.enter(), self._roster.acquire(self._choice) as loaded:
            catalogue = self._catalogue(loaded)
            ids = [catalogue.ids[row] for row in catalogue.find(query, _MOST_HITS)]
            titles, topics = _describe(loaded, ids)
        items = [
            {"item_id": item_id, "title": title, "categories": [part for part in topic.split("|") if part]}
            for item_id, title, topic in zip(ids, titles, topics, strict=True)
        ]
        return {"version": loaded.version, "items": items}

    def _card(self, version: int) -> dict[str, Any]:
        path = find_versions(self._base).get(version)
        try:
            card = json.loads((path / MODEL_CARD).read_bytes()) if path else {}
        except (OSError, ValueError):
            # A model of another maker, or a version whose directory is gone: served all the same.
            return {}
        return card if isinstance(card, dict) else {}

    def _catalogue(self, loaded: Servable) -> TitleSearch:
        """The titles of the version that answers, read once."""
        with self._lock:
            if self._search is None or self._search[0] != loaded.version:
                ids = self._ids(loaded.version)
                self._search = loaded.version, TitleSearch(ids, _describe(loaded, ids)[0])
                _log.info("explorer: %d items of version %d can be searched", len(ids), loaded.version)
            return self._search[1]

    def _ids(self, version: int) -> list[str]:
        path = find_versions(self._base).get(version)
        file = next(iter(sorted(path.glob(_ID_FILES))), None) if path else None
        return file.read_bytes().decode().split("\n")[:-1] if file else []


def _describe(loaded: Servable, ids: list[str]) -> tuple[list[str], list[str]]:
    """Titles and ``|``-joined categories; empty where the model carries none."""
    if DESCRIBE not in loaded.signatures:
        return [""] * len(ids), [""] * len(ids)
    titles: list[str] = []
    topics: list[str] = []
    for start in range(0, len(ids), _DESCRIBED_AT_ONCE):
        asked = [item_id.encode() for item_id in ids[start : start + _DESCRIBED_AT_ONCE]]
        outputs = loaded.predict(loaded.signatures[DESCRIBE], {"item_id": Plain(STRING, (len(asked),), asked)})
        titles.extend(map(text, outputs["title"].values))
        topics.extend(map(text, outputs["categories"].values))
    return titles, topics


def _response(body: bytes, kind: str, headers: dict[str, str] | None = None) -> web.Response:
    always = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store"}
    return web.Response(body=body, content_type=kind, charset="utf-8", headers={**always, **(headers or {})})
