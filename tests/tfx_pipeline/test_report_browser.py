"""The report as a browser shows it: nothing to complain of, nothing asked of the network, and it fits the screen."""

import io

import numpy as np
import pytest

from tests.browsers import chromium
from tests.tfx_pipeline.report_toys import HOSTILE, SECTIONS


@pytest.fixture(scope="module")
def browser():
    with chromium("the report") as started:
        yield started


@pytest.fixture
def opened(browser, whole):
    """The page as a browser shows it, what it complained of, and what it asked for."""
    page, faults, asked = browser.new_page(), [], []
    page.on("console", lambda message: faults.append(message.text))
    page.on("pageerror", lambda error: faults.append(str(error)))

    def route(route):
        asked.append(route.request.url)
        if route.request.url.startswith("file://"):
            route.continue_()
        else:
            route.abort()

    page.route("**/*", route)
    path = (whole[0].root / "report.html").as_uri()
    page.goto(path)
    yield page, faults, asked, path
    page.close()


def test_browser_shows_headings_and_rows(opened):
    page, faults, asked, path = opened
    assert (faults, asked) == ([], [path])
    assert page.locator("h2").all_inner_texts() == SECTIONS
    assert page.locator("#neighbours tbody tr").count() == 9
    assert page.locator("#index tbody tr").count() == 3
    metrics, graded = page.locator("#metrics table").all()
    assert (metrics.locator("tbody tr").count(), graded.locator("tbody tr").count()) == (5, 5)
    assert graded.locator("caption").inner_text() == "how held-out annotations are ranked"
    assert HOSTILE in page.locator("#neighbours").inner_text()
    assert all(box["height"] > 100 for svg in page.locator("svg").all() if (box := svg.bounding_box()))
    page.click("nav a[href='#index']")
    assert page.evaluate("document.querySelector('#index').getBoundingClientRect().top") < 200


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_browser_fits_a_narrow_screen_and_is_not_blank(opened, scheme):
    page, _, _, _ = opened
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": 360, "height": 740})
    width = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
    assert width == [360, 360]
    from matplotlib.image import imread

    picture = imread(io.BytesIO(page.screenshot()), format="png")[..., :3]
    assert picture.shape[:2] == (740, 360)
    assert len(np.unique((picture.reshape(-1, 3) * 255).astype(int), axis=0)) > 20
    assert (picture.mean() > 0.7) == (scheme == "light")
