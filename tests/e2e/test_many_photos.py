"""The page with many photos, in a real browser: how they come, are found again, taken along and kept."""

import csv
import io
import json
import re
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import FilePayload, Locator, Page, Route, expect

from tests.support import needs
from tests.support.browsing import (
    GOLF_BALL,
    PARACHUTE,
    REFUSED,
    STREET,
    Visit,
    choose,
    complete,
    drop,
    many,
    settled,
)
from tests.support.data import rings

pytestmark = needs.BROWSER.mark()

RINGS: FilePayload = {"name": "rings.png", "mimeType": "image/png", "buffer": rings()}
BROKEN: FilePayload = {"name": 'a, "b".jpg', "mimeType": "image/jpeg", "buffer": STREET.read_bytes()[:900]}


def cards(page: Page) -> Locator:
    return page.locator(".card")


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


def test_the_photos_in_dropped_folders_are_classified_and_what_is_no_photo_is_left_there(
    visit: Visit, tmp_path: Path
) -> None:
    page = complete(visit())
    single, folder = tmp_path / "street.jpg", tmp_path / "photos"
    single.write_bytes(STREET.read_bytes())
    (folder / "more").mkdir(parents=True)
    for name in ("10.jpg", "9.webp", "more/1.heic"):  # as the service reads the format from the bytes
        (folder / name).write_bytes(GOLF_BALL.read_bytes())
    for name in ("notes.txt", ".DS_Store", "more/results.csv", "._9.webp"):
        (folder / name).write_text("no photo")
    for number in range(300):  # more than a browser gives of a folder at once
        (folder / f"{number}.txt").touch()
    drop(page, folder, single)
    expect(page.locator(".card-name")).to_have_text(["9.webp", "10.jpg", "1.heic", "street.jpg"])
    settled(page)
    expect(page.locator("#status")).to_have_text("4 of 4 photos are classified")
    expect(page.get_by_role("alert")).to_be_hidden()


class Stalling(BaseHTTPRequestHandler):
    """Answers with the beginning of a document, and no more until the caller goes away."""

    def log_request(self, code: object = "-", size: object = "-") -> None:
        pass

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.wfile.write(b'{"results": [')
        self.rfile.read(1)


@pytest.fixture
def stalling() -> Iterator[str]:
    """The address of a server that stalls."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Stalling) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


BEGINNING = """() => {
    window.begun = 0;
    const ask = window.fetch;
    window.fetch = async (path, options) => {
        const answer = await ask(`${path}#not-recorded`, options); // what records answers waits for all of one
        window.begun += path.endsWith("/predict");
        return answer;
    };
}"""


def test_photos_that_are_cancelled_while_their_answer_arrives_have_none(visit: Visit, stalling: str) -> None:
    page = complete(visit())
    asked: list[Route] = []

    def answered(route: Route) -> None:
        asked.append(route)
        route.continue_(url=None if len(asked) == 1 else f"{stalling}/predict")

    page.route(re.compile("/predict"), answered)
    page.evaluate(BEGINNING)
    page.set_input_files("#choose", many(16))
    expect(page.locator("#progress")).to_contain_text("Classified 8 of 16 photos")
    page.wait_for_function("() => window.begun === 2")
    page.get_by_role("button", name="Cancel").click()
    settled(page)
    expect(page.locator("#status")).to_have_text("8 of 16 photos are classified; 8 have no answer")


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
    keeps(page, "parachute.png", "golf-ball.webp")
    choose(page, STREET, BROKEN, PARACHUTE)
    keeps(page, "street.jpg", BROKEN["name"], "parachute.png")
    complete(reloaded(page))
    expect(page.locator(".card-name")).to_have_text(["street.jpg", BROKEN["name"], "parachute.png"])
    expect(keep).to_be_checked()
    expect(page.locator("#result h3")).to_have_text("gas pump")
    expect(cards(page).first.locator("img")).to_have_js_property("naturalWidth", 320)
    page.get_by_role("switch", name="Why?").click()
    expect(page.locator("#why-note")).to_contain_text("not kept; choose them again")
    keep.uncheck()
    keeps(page)
    complete(reloaded(page))
    expect(cards(page)).to_have_count(0)


def keeps(page: Page, *names: str) -> None:
    """Wait until the browser keeps the results of these photos; of none, until it has no place for any."""
    while page.evaluate(KEPT) != (list(names) or None):
        page.wait_for_timeout(20)


KEPT = """async () => {
    if (!(await indexedDB.databases()).length) return null;
    const opening = indexedDB.open("mobilenet");
    opening.onupgradeneeded = () => opening.transaction.abort(); // it was removed in between
    const done = (request) => new Promise((done) => Object.assign(request, { onsuccess: done, onerror: done }));
    await done(opening);
    if (opening.error) return null;
    const getting = opening.result.transaction("sessions").objectStore("sessions").get("last");
    await done(getting);
    opening.result.close();
    return getting.result?.map(({ name }) => name) ?? [];
}"""
PICTURED = """async (bytes) => {
    const { small } = await import(new URL("web/thumbnails.js", document.baseURI));
    await small({ file: new File([new Uint8Array(bytes)], "another.png", { type: "image/png" }) });
}"""
"""Waits until there is a small picture of each photo that one was wanted of before."""


def test_kept_results_name_the_classes_as_soon_as_they_are_known(visit: Visit) -> None:
    page = complete(visit(alone=True))
    choose(page, RINGS)
    warning = page.locator("#result .unfamiliar")
    whole = warning.inner_text()
    assert "knows: tench, " in whole
    page.get_by_label("Keep these results in this browser").check()
    keeps(page, "rings.png")
    held: list[Route] = []
    page.route("**/model-info?*", partial(list.append, held))
    page.reload()
    expect(warning).to_contain_text("looks like none of the classes that the service knows. ")
    held[0].continue_()
    expect(warning).to_have_text(whole)


def test_the_results_that_are_kept_are_the_latest_however_slow_the_pictures_of_others_are(visit: Visit) -> None:
    page = complete(visit(alone=True))
    choose(page, PARACHUTE)
    page.get_by_label("Keep these results in this browser").check()
    keeps(page, "parachute.png")
    held: list[Route] = []
    page.route("**/preview", partial(list.append, held))
    slow: FilePayload = {"name": "slow.tiff", "mimeType": "image/tiff", "buffer": tiff(GOLF_BALL)}
    choose(page, *many(80), slow, GOLF_BALL)  # so many that the last are not on the screen
    while not held:
        page.wait_for_timeout(20)
    choose(page, STREET)
    held[0].continue_()
    while page.evaluate(KEPT) == ["parachute.png"]:
        page.wait_for_timeout(20)
    page.evaluate(PICTURED, list(PARACHUTE.read_bytes()))
    assert page.evaluate(KEPT) == ["street.jpg"]
    assert len(held) == 1


def tiff(path: Path) -> bytes:
    """Return a photo in a format that no browser shows, so that the service makes its small picture."""
    buffer = io.BytesIO()
    Image.open(path).convert("RGB").save(buffer, "TIFF")
    return buffer.getvalue()


def test_results_that_the_browser_has_no_room_for_are_said_not_to_be_kept(visit: Visit) -> None:
    page = complete(visit(alone=True))
    quota = {"origin": page.evaluate("location.origin"), "quotaSize": 10_000}
    page.context.new_cdp_session(page).send("Storage.overrideQuotaForOrigin", quota)
    choose(page, PARACHUTE)
    keep = page.get_by_label("Keep these results in this browser")
    keep.click()
    expect(page.get_by_role("alert")).to_have_text("This browser has no room for these results, so none are kept.")
    expect(keep).not_to_be_checked()
    keeps(page)


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
