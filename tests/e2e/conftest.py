"""Every test of this folder starts the real process."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, expect, sync_playwright

from tests.support import chromium, needs
from tests.support.browsing import ANSWER_TIMEOUT_MS, Visit, warm
from tests.support.processes import Process, Serve


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


@pytest.fixture(scope="module")
def service(serve: Serve) -> Process:
    """The bundled weights in int8, which need no compiling."""
    return serve(PRECISION="int8")


@pytest.fixture(scope="module")
def address(service: Process) -> str:
    """Where the page is."""
    return service.url


@pytest.fixture(scope="module")
def usual(browser: Browser, address: str) -> Iterator[BrowserContext]:
    """What pages are opened in that keep nothing in the browser."""
    with warm(browser, address) as context:
        yield context


@pytest.fixture
def visit(browser: Browser, address: str, usual: BrowserContext) -> Iterator[Visit]:
    """Opens pages, which must log nothing that is not expected."""
    visit = Visit(browser, address, usual)
    yield visit
    visit.close()
