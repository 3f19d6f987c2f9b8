"""Every test of this folder starts the real process."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from tests.support import chromium, needs
from tests.support.browsing import ANSWER_TIMEOUT_MS


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.e2e)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium without a window."""
    # As root, as in many containers, Chromium has no sandbox. One process for all pages of a context starts once.
    args = ["--no-sandbox", "--use-fake-device-for-media-stream", "--renderer-process-limit=1"]
    expect.set_options(timeout=ANSWER_TIMEOUT_MS)
    with sync_playwright() as playwright:
        variables: dict[str, str | float | bool] = {
            **os.environ,
            "CHROMIUM": needs.chromium() or playwright.chromium.executable_path,
        }
        browser = playwright.chromium.launch(executable_path=chromium.__file__, env=variables, args=args)
        yield browser
        browser.close()
