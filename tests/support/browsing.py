"""A browser on the page: what it shows, what it logs, and what it asks for."""

import os
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, BrowserContext, FilePayload, Page, Request, expect

from app.config import MODEL_WEIGHTS

DRAWINGS = MODEL_WEIGHTS / "golden"
GOLF_BALL, PARACHUTE, STREET = (DRAWINGS / name for name in ("golf-ball.webp", "parachute.png", "street.jpg"))

REFUSED = "Failed to load resource: the server responded with a status of"
"""What Chromium logs of every answer that is an error, whatever the page makes of it."""

SCREENSHOTS = os.environ.get("SCREENSHOTS")
"""Folder that the pictures of the documentation are written to:
`SCREENSHOTS=docs pytest tests/e2e/test_page.py tests/e2e/test_why.py`.
"""

ANSWER_TIMEOUT_MS = 30_000
"""How long a question may take; the first ones of a service wait for its workers to start."""

RECORD = r"""
    window.answers = [];
    const ask = window.fetch;
    window.fetch = async (...wanted) => {
        const answer = await ask(...wanted);
        if (/\/predict(\?explain=true)?$/.test(wanted[0])) window.answers.push(await answer.clone().json());
        return answer;
    };
"""
"""Run in every page before its own scripts."""


WIDTH, HEIGHT = 1280, 900


def opened(browser: Browser, width: int = WIDTH, height: int = HEIGHT, **options: Any) -> BrowserContext:
    """Return a context, which shares nothing with others; `options` are Playwright's."""
    context = browser.new_context(viewport={"width": width, "height": height}, **options)
    context.add_init_script(RECORD)
    return context


class Visit:
    """Opens pages, and keeps what they log and ask for; `expected` are parts of lines that may be logged.

    Pages of the usual size without options are opened in the context `usual`, if one is given. It has fetched and
    compiled the scripts already, which a context of its own takes half of its CPU seconds for.
    """

    def __init__(self, browser: Browser, url: str, usual: BrowserContext | None = None) -> None:
        self._browser = browser
        self._url = url
        self._usual = usual
        self._contexts: list[BrowserContext] = []
        self._pages: list[Page] = []
        self._logged: list[str] = []
        self._left: list[str] = []
        self.expected: list[str] = []

    def __call__(
        self, path: str = "/", url: str | None = None, width: int = WIDTH, height: int = HEIGHT, **options: Any
    ) -> Page:
        """Open a page of the service; `options` are Playwright's of a context."""
        own = url or self._url
        page = self._context(width, height, **options).new_page()
        self._pages.append(page)
        page.on("console", lambda message: self._logged.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self._logged.append(f"uncaught: {error}"))
        page.on("request", lambda request: self._note(own, request))
        page.on("requestfailed", self._blocked)
        page.goto(f"{own}{path}")
        return page

    def _context(self, width: int, height: int, **options: Any) -> BrowserContext:
        if self._usual and (width, height) == (WIDTH, HEIGHT) and not options:
            return self._usual
        self._contexts.append(opened(self._browser, width, height, **options))
        return self._contexts[-1]

    def _note(self, own: str, request: Request) -> None:
        if not request.url.startswith((f"{own}/", f"blob:{own}/", "data:")):
            self._left.append(request.url)

    def _blocked(self, request: Request) -> None:
        # By the policy of the page: asked for, but never sent.
        if request.failure == "csp":
            self._left.remove(request.url)

    def close(self) -> None:
        """Check that nothing unexpected was logged and that no request left the host."""
        for page in self._pages:
            page.close()
        for context in self._contexts:
            context.close()
        assert self._pages
        assert self._left == []
        unexpected = [line for line in self._logged if not any(part in line for part in self.expected)]
        assert not unexpected


def complete(page: Page) -> Page:
    expect(page.locator("#variants")).to_be_visible()
    return page


def choose(page: Page, *photos: Path | FilePayload) -> None:
    """Choose photos and wait until the page has their answer, so that nothing is read from an earlier one."""
    page.set_input_files("#choose", [payload(photo) if isinstance(photo, Path) else photo for photo in photos])
    settled(page)


def settled(page: Page) -> None:
    """Wait until the page shows what came of its last question; it is busy from the question to the answer."""
    expect(page.locator("#drop")).not_to_have_attribute("aria-busy", "true", timeout=ANSWER_TIMEOUT_MS)


def payload(path: Path) -> FilePayload:
    return {
        "name": path.name,
        "mimeType": f"image/{path.suffix[1:].replace('jpg', 'jpeg')}",
        "buffer": path.read_bytes(),
    }


def predicted(page: Page) -> Any:
    """Return the last answer of `/predict` that the page was given."""
    return page.evaluate("window.answers.at(-1)")


def answer(page: Page) -> Any:
    """Wait for the result of one photo; return its heading."""
    settled(page)
    expect(page.locator("#result .seen img")).to_be_visible()
    return page.locator("#result h3")
