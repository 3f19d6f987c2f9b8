"""What the page says of the fastest engine and precision, by what `mobilenet bench` has saved."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Locator, Page, expect

from app.measurements import Latency
from app.mobilenet.variants import Precision
from app.model import latency
from tests.support import needs
from tests.support.browsing import Visit, complete
from tests.support.processes import Serve

pytestmark = needs.BROWSER.mark()

BENCH = "mobilenet bench --alpha 0.5 --resolution 160"


@pytest.fixture
def page(browser: Browser, serve: Serve, tmp_path: Path) -> Iterator[Page]:
    """A phone with the page of a service that runs LiteRT int8, and has measured nothing."""
    service = serve(PRECISION="int8", MODEL_THREADS=1, CACHE=tmp_path)
    visit = Visit(browser, service.url)
    yield complete(visit(width=360, permissions=["clipboard-read", "clipboard-write"]))
    visit.close()
    assert service.stop() == 0


def measured(precision: Precision, median_ms: float, *turns_ms: float) -> Latency:
    return Latency(
        alpha=0.5,
        resolution=160,
        classes=10,
        precision=precision,
        engine="litert",
        threads=1,
        weights="imagenette",
        machine=latency.machine(),
        measured="2026-01-31",
        runs=20,
        median_ms=median_ms,
        p95_ms=median_ms,
        turns_ms=turns_ms,
        contest="2026-01-31T10:00:00+00:00",
    )


SERVES, QUICKER = measured("int8", 10.9, 10.8, 11.0), measured("float32", 2.6, 2.5, 2.7)


def test_a_setting_that_would_serve_faster_is_said_with_its_command_or_how_to_measure_it(
    page: Page, tmp_path: Path
) -> None:
    def said(*saved: Latency) -> Locator:
        (tmp_path / latency.NAME).unlink(missing_ok=True)
        latency.save(tmp_path, saved)
        page.reload()
        complete(page)
        return page.locator("#faster .note")

    expect(said()).to_have_text(f"{BENCH} measures which engine and precision is the fastest on this machine.")
    expect(said(SERVES)).to_have_text(
        f"Only LiteRT int8, which serves, was measured here; {BENCH} measures every other engine and precision, too."
    )
    expect(said(QUICKER)).to_have_text(
        f"LiteRT float32 was measured at 2.60 ms here, LiteRT int8, which serves, was not; {BENCH} measures both."
    )
    faster = "LiteRT float32 was measured at 2.60 ms here, LiteRT int8, which serves, at 10.9 ms."
    expect(said(SERVES, QUICKER)).to_contain_text(faster)
    expect(said(SERVES, QUICKER)).not_to_contain_text("not sure")
    check_command(page)
    expect(said(SERVES, measured("float32", 2.6, 2.5, 10.9))).to_contain_text("Which is faster is not sure")
    page.get_by_text("Every variant as a table").click()
    expect(page.locator("#variants-table")).to_contain_text("LiteRT float32, 2.60 ms (not sure)")
    expect(said(QUICKER, measured("int8", 1.9, 1.8, 2.0))).to_have_count(0)


def check_command(page: Page) -> None:
    """Check that the command is copied whole, and keeps nobody out."""
    advice = page.locator("#faster")
    advice.get_by_role("button", name="Copy").click()
    expect(advice.get_by_role("status")).to_have_text("Copied")
    command = "mobilenet serve --engine litert --precision float32 --alpha 0.5 --resolution 160"
    assert advice.locator("code").inner_text() == page.evaluate("navigator.clipboard.readText()") == command
    assert page.evaluate("document.scrollingElement.scrollWidth") == 360
    found = Axe().run(page, context="#variants")
    assert found.violations_count == 0, found.generate_report()
