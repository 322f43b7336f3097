"""The browser of the tests that look at pages."""

import contextlib
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip


@contextlib.contextmanager
def chromium(what: str) -> Iterator[Any]:
    """A headless Chromium; where there is none, the tests of ``what`` are skipped."""
    found = next((path for name in _NAMES if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(f"no chromium on PATH (scripts/browser.sh installs it): {what} was not seen by a browser")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=found, args=_FLAGS, timeout=120_000)
        yield started
        started.close()
