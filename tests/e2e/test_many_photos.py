"""The page with many photos, in a real browser: how they come, are found again, taken along and kept."""

import csv
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, FilePayload, Locator, Page, Route, expect

from tests.support import needs
from tests.support.browsing import (
    GOLF_BALL,
    PARACHUTE,
    REFUSED,
    STREET,
    Visit,
    choose,
    complete,
    payload,
    settled,
    warm,
)
from tests.support.data import rings
from tests.support.processes import Process, Serve

pytestmark = needs.BROWSER.mark()

RINGS: FilePayload = {"name": "rings.png", "mimeType": "image/png", "buffer": rings()}
BROKEN: FilePayload = {"name": 'a, "b".jpg', "mimeType": "image/jpeg", "buffer": STREET.read_bytes()[:900]}


@pytest.fixture(scope="module")
def service(serve: Serve) -> Process:
    """The bundled weights in int8, which need no compiling."""
    return serve(PRECISION="int8")


@pytest.fixture(scope="module")
def usual(browser: Browser, service: Process) -> Iterator[BrowserContext]:
    """What those pages are opened in that keep nothing."""
    with warm(browser, service.url) as context:
        yield context


@pytest.fixture
def visit(browser: Browser, service: Process, usual: BrowserContext) -> Iterator[Visit]:
    visit = Visit(browser, service.url, usual)
    yield visit
    visit.close()


def cards(page: Page) -> Locator:
    return page.locator(".card")


def many(count: int) -> list[FilePayload]:
    return [{**payload((GOLF_BALL, PARACHUTE)[index % 2]), "name": f"{index}.jpg"} for index in range(count)]


def test_photos_come_with_a_count_and_what_came_until_they_are_cancelled_stays(visit: Visit) -> None:
    page = complete(visit())
    held: list[Route] = []
    page.route("**/predict", partial(list.append, held))
    page.set_input_files("#choose", many(40))
    progress = page.locator("#progress")
    expect(progress).to_contain_text("Classified 0 of 40 photos")
    while not held:
        page.wait_for_timeout(20)
    assert held[0].request.post_data_buffer is not None
    assert held[0].request.post_data_buffer.count(b'name="image"') == 8
    held[0].continue_()
    expect(progress).to_contain_text("Classified 8 of 40 photos")
    expect(page.get_by_role("progressbar")).to_have_js_property("value", 8)
    progress.get_by_role("button", name="Cancel").click()
    settled(page)
    expect(progress).to_be_hidden()
    expect(page.get_by_role("alert")).to_be_hidden()
    expect(page.locator("#status")).to_have_text("8 of 40 photos are classified; 32 have no answer")
    expect(page.locator(".card-best")).to_have_count(8)
    page.get_by_role("combobox", name="Show").select_option("not classified")
    expect(cards(page)).to_have_count(32)
    for cancelled in held[1:]:
        cancelled.abort()  # or it would still be pending when the page closes


def test_a_full_queue_is_waited_for(visit: Visit) -> None:
    visit.expected.append(REFUSED)
    page = complete(visit())
    problem = json.dumps({"status": 429, "code": "queue_full", "detail": "256 of 256 places are taken"})
    answers = [problem]

    def full(route: Route) -> None:
        if answers:
            route.fulfill(status=429, headers={"Retry-After": "1"}, body=answers.pop())
        else:
            route.continue_()

    page.route("**/predict", full)
    choose(page, *many(3))
    expect(page.locator(".card-best span")).to_have_text(["golf ball", "parachute", "golf ball"])
    assert not answers


@pytest.mark.parametrize("width", [1280, 360])
def test_what_is_said_of_a_photo_is_on_the_screen_with_it(visit: Visit, width: int) -> None:
    page = complete(visit(width=width))
    choose(page, *many(24))
    card, result = cards(page).nth(17), page.locator("#result")
    card.evaluate("card => card.scrollIntoView({ block: 'end' })")  # with nothing of the page below it
    card.click()
    expect(result.locator("h3")).to_have_text("parachute")
    expect(card).to_be_in_viewport(ratio=0.99)
    expect(result.locator("h3")).to_be_in_viewport(ratio=1)
    beside, below = card.bounding_box(), result.bounding_box()
    assert beside
    assert below
    assert below["x"] >= beside["x"] + beside["width"] if width > 1000 else below["y"] >= beside["y"] + beside["height"]
    card.press("ArrowLeft")
    expect(cards(page).nth(16)).to_be_focused()
    expect(result.locator("h3")).to_have_text("golf ball")
    page.keyboard.press("End")
    expect(cards(page).nth(23)).to_have_attribute("aria-pressed", "true")
    assert page.evaluate("document.scrollingElement.scrollWidth") == width
    page.keyboard.press("Tab")  # the other cards are no stops: what is said of the photo comes next
    assert page.evaluate("document.getElementById('result').contains(document.activeElement)")


def keeps_nobody_out(page: Page) -> None:
    """Check that axe finds nothing."""
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


def downloaded(page: Page, name: str) -> str:
    with page.expect_download() as download:
        page.get_by_role("button", name=name, exact=True).click()
    assert download.value.suggested_filename == f"results.{name.lower()}"
    return Path(download.value.path()).read_bytes().decode()


def test_photos_are_sorted_filtered_and_taken_along(visit: Visit) -> None:
    visit.expected.append(REFUSED)  # the small picture of what is no image
    page = complete(visit())
    blank: FilePayload = {"name": "blank.jpg", "mimeType": "image/jpeg", "buffer": b""}
    choose(page, STREET, RINGS, BROKEN, PARACHUTE, GOLF_BALL, blank)
    names = page.locator(".card-name")
    sort, show = page.get_by_role("combobox", name="Sort"), page.get_by_role("combobox", name="Show")
    given = ["street.jpg", "rings.png", BROKEN["name"], "parachute.png", "golf-ball.webp", "blank.jpg"]
    expect(names).to_have_text(given)
    sort.select_option("by name")
    expect(names).to_have_text(sorted(given))
    sort.select_option("least certain first")
    expect(names.last).to_have_text("blank.jpg")
    shares = [float(text.split()[0]) for text in page.locator(".card-best b").all_inner_texts()]
    assert shares == sorted(shares)
    show.select_option("like none of the classes")
    expect(names).to_have_text(["rings.png"])
    expect(page.locator("#result figcaption").first).to_have_text("rings.png")
    expect(page.locator("#shown")).to_have_text("1 of 6 photos")
    page.get_by_role("button", name="Show all").click()
    page.get_by_role("combobox", name="Class").select_option("parachute")
    shown = set(names.all_inner_texts())
    assert "parachute.png" in shown
    assert shown.isdisjoint({"street.jpg", "golf-ball.webp", BROKEN["name"]})
    page.get_by_role("button", name="Show all").click()

    rows = list(csv.DictReader(downloaded(page, "CSV").splitlines()))
    assert [row["path"] for row in rows if row["rank"] in ("", "1")] == given
    assert [row["error"] for row in rows if row["path"] == BROKEN["name"]] == ["undecodable_image"]
    answer = page.evaluate("window.answers.at(-1)")
    assert float(rows[0]["probability"]) == answer["results"][0]["predictions"][0]["probability"]
    results = json.loads(downloaded(page, "JSON"))
    assert [one.pop("path") for one in results] == given
    assert results[3]["predictions"] == answer["results"][3]["predictions"]
    assert results[0]["model"] == answer["model"]
    page.get_by_text("The answer as JSON").click()
    shown_answer = page.get_by_role("region", name="The answer as JSON")
    expect(shown_answer).to_contain_text(answer["request_id"])
    assert json.loads(shown_answer.inner_text()) == answer
    keeps_nobody_out(page)


def test_results_are_kept_in_the_browser_only_while_that_is_wanted(visit: Visit) -> None:
    page = complete(visit(alone=True))
    keep = page.get_by_label("Keep these results in this browser")
    choose(page, PARACHUTE, GOLF_BALL)
    expect(keep).not_to_be_checked()
    complete(reloaded(page))
    expect(cards(page)).to_have_count(0)
    choose(page, PARACHUTE, GOLF_BALL)
    keep.check()
    page.wait_for_function("() => indexedDB.databases().then(all => all.length === 1)")
    choose(page, STREET, BROKEN, PARACHUTE)
    page.wait_for_timeout(500)  # the browser writes
    complete(reloaded(page))
    expect(page.locator(".card-name")).to_have_text(["street.jpg", BROKEN["name"], "parachute.png"])
    expect(keep).to_be_checked()
    expect(page.locator("#result h3")).to_have_text("gas pump")
    expect(cards(page).first.locator("img")).to_have_js_property("naturalWidth", 320)
    page.get_by_role("switch", name="Why?").click()
    expect(page.locator("#why-note")).to_contain_text("not kept; choose them again")
    keep.uncheck()
    page.wait_for_function("() => indexedDB.databases().then(all => all.length === 0)")
    complete(reloaded(page))
    expect(cards(page)).to_have_count(0)


def reloaded(page: Page) -> Page:
    page.reload()
    return page


def test_a_photo_is_taken_with_a_camera_that_nobody_asks_for_before(visit: Visit) -> None:
    page = complete(visit(alone=True))
    button = page.get_by_role("button", name="Take a photo")
    page.evaluate(NOTING)
    button.click()
    expect(page.get_by_role("alert")).to_contain_text("The camera may not be used")
    page.context.grant_permissions(["camera"])
    button.click()
    page.wait_for_function("() => document.getElementById('view').videoWidth > 0")
    page.get_by_role("button", name="Take it").click()
    settled(page)
    expect(page.locator("#result figcaption").first).to_have_text("camera.jpg")
    expect(page.get_by_role("alert")).to_be_hidden()
    button.click()
    expect(page.get_by_role("dialog", name="Take a photo")).to_be_visible()
    keeps_nobody_out(page)
    page.keyboard.press("Escape")
    page.wait_for_function(LET_GO)
    page.evaluate(MISSING)
    button.click()
    expect(page.get_by_role("alert")).to_contain_text("No camera was found.")


NOTING = """() => {
    window.streams = [];
    const lend = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
    navigator.mediaDevices.getUserMedia = async (wanted) => {
        const stream = await lend(wanted);
        window.streams.push(stream);
        return stream;
    };
}"""
LET_GO = """() => {
    const tracks = window.streams.flatMap((one) => one.getTracks());
    return tracks.length === 2 && tracks.every((one) => one.readyState === "ended");
}"""
MISSING = """() => {
    navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException("", "NotFoundError"));
}"""
