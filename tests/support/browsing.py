"""A browser on the page: what it shows, what it logs, and what it asks for."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from playwright.sync_api import Browser, BrowserContext, FilePayload, Locator, Page, Request, expect

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
"""How long what a test expects may take; the first questions of a service wait for its workers to start."""

RECORD = r"""
    window.answers = [];
    const ask = window.fetch;
    window.fetch = async (...wanted) => {
        const answer = await ask(...wanted);
        const json = answer.headers.get("Content-Type")?.endsWith("json");
        if (json && /\/predict(\?explain=true)?$/.test(wanted[0])) window.answers.push(await answer.clone().json());
        return answer;
    };
"""
"""Run in every page before its own scripts."""


WIDTH, HEIGHT = 1280, 900
Scheme = Literal["dark", "light"]


def opened(browser: Browser, **options: Any) -> BrowserContext:
    """Return a context, which shares nothing with others; `options` are Playwright's."""
    context = browser.new_context(**options)
    context.add_init_script(RECORD)
    return context


@contextmanager
def warm(browser: Browser, url: str) -> Iterator[BrowserContext]:
    """Give a context for all pages that keep nothing in the browser.

    It has fetched and compiled the scripts already. A page of the service stays open in it, so that the process of
    Chromium that has run them stays, too. Without both a page takes twice the CPU seconds.
    """
    context = opened(browser)
    context.new_page().goto(f"{url}/healthz")
    yield context
    context.close()


class Visit:
    """Opens pages, and keeps what they log and ask for; `expected` are parts of lines that may be logged.

    They are opened in the context `usual`, if one is given.
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
        self,
        path: str = "/",
        url: str | None = None,
        width: int = WIDTH,
        height: int = HEIGHT,
        scheme: Scheme = "light",
        *,
        alone: bool = False,
        **options: Any,
    ) -> Page:
        """Open a page of the service, of a size in pixels, for a reader who prefers light or dark.

        A page that is to be alone, or for which there are `options` of Playwright, gets a context of its own.
        """
        own = url or self._url
        page = self._context(alone, **options).new_page()
        page.set_viewport_size({"width": width, "height": height})
        page.emulate_media(color_scheme=scheme)
        self._pages.append(page)
        page.on("console", lambda message: self._logged.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self._logged.append(f"uncaught: {error}"))
        page.on("request", lambda request: self._note(own, request))
        page.on("requestfailed", self._blocked)
        page.goto(f"{own}{path}")
        return page

    def _context(self, alone: bool, **options: Any) -> BrowserContext:
        if self._usual and not alone and not options:
            return self._usual
        self._contexts.append(opened(self._browser, **options))
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
        assert not unexpected, unexpected


def complete(page: Page) -> Page:
    expect(page.locator("#variants")).to_be_visible()
    return page


def choose(page: Page, *photos: Path | FilePayload) -> None:
    """Choose photos and wait until the page has their answer, so that nothing is read from an earlier one."""
    page.set_input_files("#choose", [payload(photo) if isinstance(photo, Path) else photo for photo in photos])
    settled(page)


def drop(page: Page, *paths: Path) -> None:
    """Drop files and folders of this machine on the page, as from its file manager."""
    data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
    session = page.context.new_cdp_session(page)
    for kind in ("dragEnter", "dragOver", "drop"):
        session.send("Input.dispatchDragEvent", {"type": kind, "x": 100, "y": 100, "data": data})
    session.detach()


def settled(page: Page) -> None:
    """Wait until the page shows what came of its last question; it is busy from the question to the answer."""
    expect(page.locator("#drop")).not_to_have_attribute("aria-busy", "true")


def payload(path: Path) -> FilePayload:
    return {
        "name": path.name,
        "mimeType": f"image/{path.suffix[1:].replace('jpg', 'jpeg')}",
        "buffer": path.read_bytes(),
    }


def many(count: int) -> list[FilePayload]:
    """Return photos of golf balls and parachutes by turns, named `0.jpg`, `1.jpg` and so on."""
    return [{**payload((GOLF_BALL, PARACHUTE)[index % 2]), "name": f"{index}.jpg"} for index in range(count)]


def predicted(page: Page) -> Any:
    """Return the last answer of `/predict` that the page was given."""
    return page.evaluate("window.answers.at(-1)")


def answer(page: Page) -> Any:
    """Wait for the result of one photo; return its heading."""
    settled(page)
    expect(page.locator("#result .seen img")).to_be_visible()
    return page.locator("#result h3")


PIXELS = """source => {
    const [width, height] = [source.naturalWidth ?? source.width, source.naturalHeight ?? source.height];
    const canvas = new OffscreenCanvas(width, height).getContext("2d");
    canvas.drawImage(source, 0, 0);
    const values = canvas.getImageData(0, 0, width, height).data;
    return [width, height, Array.from(values, (value) => String.fromCharCode(value)).join("")];
}"""
"""Gives text, as Playwright takes a second for a list of so many numbers."""


def pixels(image: Locator) -> NDArray[np.uint8]:
    """Return what a browser shows of an image or a canvas, before it is scaled: `[h, w, 4]`, 0 to 255."""
    width, height, values = image.evaluate(PIXELS)
    return np.frombuffer(values.encode("latin-1"), np.uint8).reshape(height, width, 4)
