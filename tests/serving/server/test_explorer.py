"""The explorer in a real browser, over a REST server in this process."""

import json
import time
import types
import urllib.error
import urllib.parse
import urllib.request

import pytest

from serving.server.explorer import Explorer
from serving.server.gate import Gate
from serving.server.metrics import Metrics
from serving.server.rest_api import RestServer
from serving.server.roster import Roster
from tests.browsers import chromium
from tests.serving.server.shop_servable import HOSTILE, IDS, TITLES, ShopServable

COLUMNS = ("engagement", "blend", "relevance")


def serve(directory, servable, *, explorer=True):
    """A REST server of one version, and its address."""
    version = directory / "mtmh" / str(servable.version)
    for path, content in (
        ("saved_model.pb", ""),
        ("assets/item_ids.txt", "".join(f"{each}\n" for each in IDS)),
        ("assets.extra/mtmh.json", json.dumps({"items": len(IDS), "defaults": {"relevance_weight": 0.25}})),
    ):
        (version / path).parent.mkdir(parents=True, exist_ok=True)
        (version / path).write_text(content, encoding="utf-8")
    roster = Roster("mtmh", lambda: None)
    roster.add(servable)
    server = RestServer(types.SimpleNamespace(roster=roster), Gate(2, 8, 10.0), Metrics(), 1 << 20, 4096, 1.0)
    routes = Explorer(roster, "mtmh", version.parent).routes() if explorer else []
    return server, f"http://127.0.0.1:{server.listen('127.0.0.1', 0, routes)}"


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    server, address = serve(tmp_path_factory.mktemp("shop"), ShopServable())
    yield address
    server.stop()


def get(url):
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=10) as response:
        return response.headers, response.read()


def search(address, words):
    _, body = get(f"{address}/explorer/search?{urllib.parse.urlencode({'q': words})}")
    return json.loads(body)


def test_search_answers_with_titles_and_categories(shop):
    first, second = search(shop, "LUNCH bag")["items"]
    assert first == {"item_id": "1", "title": "Red lunch bag", "categories": ["bags", "red"]}
    assert second["item_id"] == "2"
    assert [each["item_id"] for each in search(shop, "untitled")["items"]] == ["untitled/5?#&"]
    assert search(shop, "nothing like it")["items"] == []
    with pytest.raises(urllib.error.HTTPError, match="400"):
        search(shop, "x" * 201)


def test_the_page_is_whole_and_lets_nothing_else_run(shop):
    headers, body = get(f"{shop}/explorer")
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy
    text = body.decode()
    assert "/* script */" not in text
    assert "http://" not in text
    assert "https://" not in text
    assert "innerHTML" not in text
    assert headers["X-Content-Type-Options"] == "nosniff"


def test_it_is_not_there_unless_asked_for(tmp_path):
    server, address = serve(tmp_path, ShopServable(), explorer=False)
    for path in ("/explorer", "/explorer/search?q=a", "/explorer/model"):
        with pytest.raises(urllib.error.HTTPError, match="400"):
            get(address + path)
    server.stop()


def test_a_model_without_titles_is_searched_by_id(tmp_path):
    server, address = serve(tmp_path, ShopServable(without=("describe",)))
    assert search(address, "untitled/5")["items"] == [{"item_id": "untitled/5?#&", "title": "", "categories": []}]
    server.stop()


@pytest.fixture(scope="module")
def browser():
    with chromium("the explorer") as started:
        yield started


@pytest.fixture
def page(browser, shop):
    """The explorer, opened; what the browser complained of or asked elsewhere fails the test."""
    page, faults = browser.new_page(viewport={"width": 1280, "height": 900}), []
    page.on("console", lambda message: message.text.startswith("Failed to load") or faults.append(message.text))
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("request", lambda request: request.url.startswith(shop) or faults.append(request.url))
    page.goto(f"{shop}/explorer")
    page.wait_for_selector("#blend li .title")
    yield page
    assert faults == []
    assert page.evaluate("window.hacked") is None
    page.close()


def titles(page, column):
    return page.locator(f"#{column} .title").all_inner_texts()


def pick(page, words, downs=0):
    """By keyboard alone."""
    page.focus("#query")
    page.keyboard.type(words)
    page.wait_for_selector("#hits [role=option]")
    for _ in range(downs):
        page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")


def until(page, expression, argument=None):
    """Waits. From here: the page's policy forbids what `wait_for_function` does inside it."""
    end = time.monotonic() + 20
    while not page.evaluate(expression, argument):
        assert time.monotonic() < end, expression
        page.wait_for_timeout(10)


def answered(page, column, first):
    until(
        page, "([column, first]) => document.querySelector(`#${column} .title`)?.textContent === first", [column, first]
    )


def test_without_triggers_it_shows_what_is_popular(page):
    assert "mtmh version 7, 7 items" in page.inner_text("#model")
    assert page.inner_text("#weight") == "0.25"
    assert page.inner_text("#blend .source >> nth=0") == "popular"
    assert "share of all engagements" in page.inner_text("#blend li >> nth=0")
    assert page.is_visible("#none")


def test_both_heads_and_the_blend_side_by_side(page):
    pick(page, "lunch", downs=1)
    answered(page, "engagement", TITLES[0])
    pick(page, "lunch")
    until(page, "document.querySelectorAll('#triggers button').length === 2")
    # The servable answers for the last of two triggers, the first item.
    answered(page, "engagement", TITLES[1])
    assert titles(page, "engagement")[0] == TITLES[1]
    assert titles(page, "relevance")[0] == TITLES[6]
    assert page.inner_text("#engagement .source >> nth=0") == "engagement"
    assert "relevance\n0.857" in page.inner_text("#relevance .scores >> nth=0")
    assert "ms" in page.inner_text("#status")

    before = titles(page, "blend")
    page.focus("#dial")
    for _ in range(3):
        page.keyboard.press("PageUp")
    until(page, "before => document.querySelector('#blend .title').textContent !== before", before[0])
    assert titles(page, "blend") == titles(page, "relevance")
    assert page.inner_text("#weight") == page.inner_text("#blend-dial").removeprefix("dial ") > "0.5"

    page.reload()
    until(page, "document.querySelectorAll('#triggers button').length === 2")
    assert page.locator("#triggers button").all_inner_texts() == [TITLES[1], TITLES[0]]
    page.click("#triggers button >> nth=0")
    page.keyboard.press("Enter")
    page.wait_for_selector("#none")
    assert page.evaluate("document.activeElement.id") == "query"


def test_hostile_titles_and_ids_are_text(page):
    pick(page, "onerror")
    answered(page, "engagement", TITLES[3])
    assert page.inner_text("#triggers button") == HOSTILE
    page.click("#blend .title >> nth=0")
    until(page, "document.querySelector('#triggers button').textContent.length < 20")
    for name in COLUMNS:
        until(page, "([id, text]) => document.getElementById(id).textContent.includes(text)", [name, HOSTILE])
        assert HOSTILE in titles(page, name)
        assert IDS[2] in page.inner_text(f"#{name}")
    assert page.locator("main img, main script").count() == 0


def test_escape_closes_and_wrong_words_say_so(page):
    page.fill("#query", "lunch")
    page.wait_for_selector("#hits [role=option]")
    assert page.get_attribute("#query", "aria-expanded") == "true"
    page.keyboard.press("Escape")
    assert page.is_hidden("#hits")
    page.fill("#query", "nothing like it")
    until(page, "document.querySelector('#status').textContent === 'Nothing found.'")
    page.keyboard.press("Enter")
    assert page.is_visible("#none")


def test_a_refusal_is_said(page, shop):
    page.route("**/v1/models/**", lambda route: route.fulfill(status=429, body='{"error": "<b>busy</b>"}'))
    page.fill("#k", "3")
    page.wait_for_selector("#status.wrong")
    assert page.inner_text("#status") == "<b>busy</b>"
    page.unroute("**/v1/models/**")
    page.fill("#k", "2")
    until(page, "document.querySelectorAll('#blend .title').length === 2")
    assert page.locator("#status.wrong").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_narrow_screen(page, scheme):
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": 360, "height": 740})
    pick(page, "tea")
    answered(page, "engagement", IDS[4])
    assert page.evaluate("[document.documentElement.scrollWidth, innerWidth]") == [360, 360]
    page.click("nav a[href='#relevance']")
    assert page.evaluate("document.querySelector('#relevance').getBoundingClientRect().top") < 200
    back = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, back[4:-1].split(","))) > 400) == (scheme == "light")
