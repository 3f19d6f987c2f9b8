"""Every test of this folder starts the real process."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.support import needs


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.e2e)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium without a window."""
    with sync_playwright() as playwright:
        # As root, as in many containers, Chromium has no sandbox.
        browser = playwright.chromium.launch(
            executable_path=needs.chromium(), args=["--no-sandbox", "--use-fake-device-for-media-stream"]
        )
        yield browser
        browser.close()
