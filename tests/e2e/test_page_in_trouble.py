"""The page where not all is well, in a real browser: a proxy in between, a service that is away, a user who cancels."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, Request, Route, expect

from tests.support import needs
from tests.support.browsing import REFUSED, Visit, answer, choose, complete, drop, many, settled

pytestmark = needs.BROWSER.mark()

LOST = "net::ERR_FAILED"
"""What Chromium logs of a request that never reaches the service."""
NOT_LOADED = "Failed to load resource: net::"
"""How every line begins that it logs of a request that failed for whatever reason."""
UNREADABLE = "This file cannot be read; is it a folder, or was it changed or moved since it was chosen?"
LOGIN = "<!doctype html><title>Log in</title>"
Answer = tuple[int, str]
"""The status and the body of an answer that is not the service's."""
BAD_GATEWAY: Answer = (502, "<html>Bad Gateway</html>")
LOCKED: Answer = (401, json.dumps({"status": 401, "code": "unauthorized", "detail": "a key is needed"}))
FULL: Answer = (429, json.dumps({"status": 429, "code": "queue_full", "detail": "256 of 256 places are taken"}))
STARTING: Answer = (503, json.dumps({"status": 503, "code": "starting", "detail": "the model is loading"}))


@pytest.fixture
def visit(visit: Visit) -> Visit:
    visit.expected += [REFUSED, LOST]
    return visit


@pytest.fixture
def page(visit: Visit) -> Page:
    return complete(visit())


def photos_in(request: Request) -> int:
    return max(1, (request.post_data_buffer or b"").count(b'name="image"'))


def intercept(page: Page, path: str, answer: Callable[[Request], Answer | None]) -> None:
    """Answer requests instead of the service, unless `answer` returns None."""

    def handle(route: Route) -> None:
        found = answer(route.request)
        if found is None:
            route.continue_()
        else:
            status, body = found
            kind = "application/problem+json" if body.startswith("{") else "text/html"
            route.fulfill(status=status, body=body, content_type=kind)

    page.route(path, handle)


def in_turn(*answers: Answer | None) -> Callable[[Request], Answer | None]:
    """Return what gives these answers one after the other, and then those of the service."""
    left = list(answers)
    return lambda _: left.pop(0) if left else None


def classified(page: Page) -> Locator:
    return page.locator(".card-best")


def test_requests_that_are_too_large_for_a_proxy_are_halved_until_they_pass(page: Page) -> None:
    intercept(page, "**/predict", lambda request: (413, "<html>") if photos_in(request) > 2 else None)
    choose(page, *many(10))
    expect(classified(page)).to_have_count(10)
    expect(page.get_by_role("alert")).to_be_hidden()


def test_a_photo_that_is_too_large_for_a_proxy_spoils_only_itself(page: Page) -> None:
    intercept(page, "**/predict", in_turn(*[(413, "<html>")] * 3))  # all four photos, then two, then the first alone
    choose(page, *many(4))
    expect(classified(page)).to_have_count(3)
    expect(page.locator("#result .alert")).to_have_text(
        "Not the service but something on the way to it, such as a proxy, answered 413 Payload Too Large."
    )


@pytest.mark.parametrize("answers", [(FULL,), (BAD_GATEWAY, STARTING)], ids=["is full", "starts again"])
def test_a_service_that_may_answer_later_is_waited_for(page: Page, answers: list[Answer]) -> None:
    intercept(page, "**/predict", in_turn(*answers))
    choose(page, *many(3))
    expect(classified(page).locator("span")).to_have_text(["golf ball", "parachute", "golf ball"])
    expect(page.get_by_role("alert")).to_be_hidden()


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ((500, "<html>"), "such as a proxy, answered 500 Internal Server Error."),
        ((400, '{"detail": [{"msg": "no"}]}'), "such as a proxy, answered 400 Bad Request."),
        ((403, '{"code": 7, "message": "no"}'), "such as a proxy, answered 403 Forbidden."),
        ((200, LOGIN), "This is not an answer of the service; is a login needed on the way to it?"),
    ],
)
def test_what_something_else_answers_is_said_to_be_no_answer_of_the_service_and_spoils_no_photo(
    page: Page, answer: Answer, says: str
) -> None:
    intercept(page, "**/predict", in_turn(None, *[answer] * 4))
    choose(page, *many(40))
    expect(page.get_by_role("alert")).to_contain_text(says)
    expect(page.locator("#status")).to_have_text("8 of 40 photos are classified; 32 have no answer")


def on_disk(folder: Path, count: int) -> list[Path]:
    """Write photos to a folder, and return their paths."""
    for photo in many(count):
        (folder / photo["name"]).write_bytes(photo["buffer"])
    return sorted(folder.iterdir())


def test_a_file_that_was_changed_since_it_was_chosen_spoils_only_itself(
    visit: Visit, page: Page, tmp_path: Path
) -> None:
    visit.expected.append(NOT_LOADED)
    paths = on_disk(tmp_path, 4)
    page.set_input_files("#choose", paths)
    expect(classified(page)).to_have_count(4)
    settled(page)
    paths[1].write_bytes(b"changed")
    paths[2].unlink()
    page.get_by_role("switch", name="Why?").click()
    expect(page.locator("#status")).to_have_text("2 of 4 photos are classified; 2 could not be classified")
    expect(page.get_by_role("alert")).to_be_hidden()
    expect(page.locator("#result .where")).to_be_visible()
    page.locator(".card").nth(1).click()
    expect(page.locator("#result .alert")).to_have_text(UNREADABLE)


def test_a_single_file_that_was_changed_is_said_to_be(visit: Visit, page: Page, tmp_path: Path) -> None:
    visit.expected.append(NOT_LOADED)
    (path,) = on_disk(tmp_path, 1)
    page.set_input_files("#choose", path)
    expect(answer(page)).to_have_text("golf ball")
    path.write_bytes(b"changed")
    page.get_by_role("group", name="See it at").get_by_role("radio", name="128").check()
    expect(page.locator(".seen figcaption")).to_have_text(UNREADABLE)
    page.get_by_role("switch", name="Why?").click()
    expect(page.get_by_role("alert")).to_have_text(UNREADABLE)


def test_a_dropped_folder_without_photos_is_said_to_have_none(page: Page, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no photo")
    drop(page, tmp_path)
    expect(page.get_by_role("alert")).to_have_text("There are no photos in the folder.")


def test_a_key_that_no_service_can_have_is_said_what_is_wrong_with_it(page: Page) -> None:
    intercept(page, "**/model-info?*", in_turn(LOCKED))
    page.reload()
    field = page.get_by_label("Enter a key to continue")
    for wrong in ("\u043a\u043b\u044e\u0447", "two words"):
        field.fill(wrong)
        field.press("Enter")
        expect(page.get_by_role("alert")).to_have_text("A key has only ASCII letters, digits and signs, and no spaces.")
        expect(field).to_be_focused()
    field.fill(" a-key ")
    field.press("Enter")
    complete(page)
    expect(page.get_by_role("alert")).to_be_hidden()


def test_a_page_that_is_opened_while_the_service_starts_behind_a_proxy_gets_ready(visit: Visit) -> None:
    page = visit()
    intercept(page, "**/model-info?*", in_turn(STARTING, BAD_GATEWAY))
    page.reload()
    expect(page.get_by_role("alert")).to_have_text("The model is loading.")
    expect(page.get_by_role("alert")).to_contain_text("answered 502 Bad Gateway.")
    complete(page)
    expect(page.get_by_role("alert")).to_be_hidden()


def test_a_drawing_that_cannot_be_fetched_is_said_why_and_not_classified(page: Page) -> None:
    asked: list[Request] = []
    page.on("request", lambda request: asked.append(request) if "/predict" in request.url else None)
    page.route("**/samples/*", lambda route: route.abort())
    page.get_by_role("button", name="a parachute").click()
    expect(page.get_by_role("alert")).to_have_text("The service does not answer; is it still running?")
    intercept(page, "**/samples/*", in_turn(BAD_GATEWAY))
    page.get_by_role("button", name="a parachute").click()
    expect(page.get_by_role("alert")).to_contain_text("answered 502 Bad Gateway.")
    assert not asked


def test_a_variant_that_cannot_be_shown_is_not_chosen_and_the_next_one_that_can_takes_the_alert_away(
    page: Page,
) -> None:
    intercept(page, "**/model-info?*", in_turn(STARTING))
    page.get_by_role("radio", name="0.75").check(force=True)
    expect(page.get_by_role("alert")).to_have_text("The model is loading.")
    expect(page.get_by_role("radio", name="0.5")).to_be_checked()
    expect(page.locator("#totals")).to_contain_text("0.5 @ 160")
    page.get_by_role("radio", name="128").check(force=True)
    expect(page.locator("#totals")).to_contain_text("0.5 @ 128")
    expect(page.get_by_role("alert")).to_be_hidden()


def test_a_page_that_had_to_ask_twice_what_is_served_draws_each_chart_once(page: Page) -> None:
    intercept(page, "**/variants", in_turn(STARTING))
    page.reload()
    complete(page)
    assert page.evaluate(DRAWN) == 1


DRAWN = """() => {
    const observer = new MutationObserver(() => {});
    observer.observe(document.getElementById("cost-chart"), { childList: true });
    document.getElementById("standard").click();
    return observer.takeRecords().length;
}"""
"""How often a chart is drawn if somebody wants it otherwise."""


@pytest.mark.parametrize("photos", [1, 2])
def test_photos_that_are_cancelled_before_an_answer_leave_those_before_them_on_the_page(
    page: Page, photos: int
) -> None:
    choose(page, *many(6))
    page.locator(".card").nth(1).click()
    held: list[Route] = []
    page.route("**/predict", partial(list.append, held))
    page.set_input_files("#choose", many(photos))
    page.get_by_role("button", name="Cancel").click()
    settled(page)
    expect(classified(page)).to_have_count(6)
    expect(page.locator("#status")).to_have_text("6 of 6 photos are classified")
    if photos == 1:
        expect(page.locator("#result h3")).to_have_text("parachute")
    for cancelled in held:
        cancelled.abort()  # or it would still be pending when the page closes
    page.unroute("**/predict")
    page.get_by_role("switch", name="Why?").click()
    expect(page.locator("#result .where")).to_be_visible()
    expect(classified(page)).to_have_count(6)


def test_no_photo_is_taken_before_the_camera_shows_one(visit: Visit) -> None:
    page = complete(visit(alone=True, permissions=["camera"]))
    page.evaluate(SLOW_CAMERA)
    page.get_by_role("button", name="Take a photo").click()
    shutter = page.get_by_role("button", name="Take it")
    expect(shutter).to_be_disabled()
    page.evaluate("window.begin()")
    expect(shutter).to_be_focused()
    shutter.click()
    settled(page)
    expect(page.locator("#result figcaption").first).to_have_text("camera.jpg")


SLOW_CAMERA = """() => {
    const lend = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
    navigator.mediaDevices.getUserMedia = async (wanted) => {
        const stream = await lend(wanted);
        const [track] = stream.getTracks();
        stream.removeTrack(track);
        window.begin = () => stream.addTrack(track);
        return stream;
    };
}"""
"""Has the camera show nothing until `begin` is called."""
