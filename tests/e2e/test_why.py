"""The switch "Why?" of the page, in a real browser: the map of the evidence, and where it is in words."""

import io
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, FilePayload, FloatRect, Locator, Page, Request, expect

from app.model.evidence import as_stored
from tests.support import needs
from tests.support.browsing import (
    GOLF_BALL,
    REFUSED,
    SCREENSHOTS,
    STREET,
    Scheme,
    Visit,
    choose,
    complete,
    pixels,
    predicted,
)
from tests.support.data import REPOSITORY, SHARED, solid
from tests.support.fakes import COLOURS
from tests.support.images import encoded, orientation
from tests.support.processes import Process, Serve, environment, under_uvicorn

pytestmark = needs.BROWSER.mark()

Pixels = NDArray[np.float64]


def picture(name: str, image: Image.Image, form: str = "PNG", **options: Any) -> FilePayload:
    return {"name": name, "mimeType": f"image/{form.lower()}", "buffer": encoded(image, form, **options)}


def halves(left: str = "red", right: str = "blue") -> Image.Image:
    image = Image.new("RGB", (128, 128), COLOURS[left])
    image.paste(COLOURS[right], (64, 0, 128, 128))
    return image


HALVES = picture("halves.png", halves())
BROKEN: FilePayload = {"name": "broken.png", "mimeType": "image/png", "buffer": solid(COLOURS["red"])[:60]}


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., str]]:
    """Return a function that starts a service of `tests.e2e.colours`, and returns its address."""
    with ExitStack() as running:

        def start(**settings: object) -> str:
            variables = environment(ALPHA=0.25, CACHE=tmp_path_factory.mktemp("cache"), **settings)
            url, _ = running.enter_context(under_uvicorn("tests.e2e.colours:app", variables, cwd=REPOSITORY))
            return url

        yield start


@pytest.fixture(scope="module")
def address(colours: Callable[..., str]) -> str:
    """A model that knows colours and gives features."""
    return colours(RESOLUTION=64, MAX_IMAGES=3)


@pytest.fixture(scope="module")
def featureless(colours: Callable[..., str]) -> str:
    return colours(RESOLUTION=128, MAX_IMAGES=2)


@pytest.fixture(scope="module")
def lineup(serve: Serve) -> Process:
    """The bundled weights in two variants."""
    return serve(PRECISION="int8", VARIANTS="0.25/128")


@pytest.fixture
def page(visit: Visit) -> Page:
    return visit()


@pytest.fixture(scope="module")
def scripts(browser: Browser, address: str, usual: BrowserContext) -> Iterator[Page]:
    """A page that stays open, for tests that call functions of its scripts and change nothing on it."""
    visit = Visit(browser, address, usual)
    yield visit()
    visit.close()


def switch(page: Page) -> Locator:
    return page.get_by_role("switch", name="Why?")


def asking_why(page: Page) -> Page:
    switch(page).check()
    return page


def where(page: Page) -> Locator:
    return page.locator("#result .where")


def classes(page: Page) -> Locator:
    return page.locator("#result .bars button")


def pressed(page: Page) -> Locator:
    return page.locator("#result .bars button[aria-pressed=true] .bar-label")


def map_of(page: Page, among: str = "#result .sight") -> Pixels:
    """Return the pixels of the map that is shown, `[h, w, 4]`, 0 to 255."""
    canvas = page.locator(f"{among} canvas.map")
    expect(canvas).to_have_count(1)
    return pixels(canvas).astype(float)


def warmth(pixels: Pixels) -> Pixels:
    """Return how much more orange than blue a map, or a picture of it, is at each pixel."""
    strength = pixels[..., 3] / 255 if pixels.shape[2] == 4 else 1.0
    return (pixels[..., 0] - pixels[..., 2]) * strength


def asked(page: Page) -> list[str]:
    """Return a list to which each request for predictions is added: what follows its path."""
    found: list[str] = []

    def note(request: Request) -> None:
        if "/predict" in request.url:
            found.append(request.url.split("/predict")[1])

    page.on("request", note)
    return found


def test_nobody_is_asked_why_until_the_switch_is_on_and_then_the_photo_on_the_page_is(page: Page) -> None:
    requests = asked(page)
    choose(page, HALVES)
    expect(page.locator("#result .seen img")).to_be_visible()
    expect(page.locator(".map")).to_have_count(0)
    expect(classes(page)).to_have_count(0)
    assert requests == [""]
    switch(page).check()
    expect(page.locator(".map")).to_have_count(1)
    expect(page.locator(".receipt")).to_contain_text("MACs for Why?")
    assert "predict?explain=true" in page.locator(".command code").inner_text()
    switch(page).uncheck()
    expect(page.locator(".map")).to_have_count(0)
    switch(page).check()
    expect(page.locator(".map")).to_have_count(1)
    assert requests == ["", "?explain=true"]


def test_the_map_is_orange_where_the_class_is_and_another_class_has_another(page: Page) -> None:
    choose(asking_why(page), HALVES)
    for name, side in (("red", "left"), ("blue", "right")):
        classes(page).filter(has_text=name).click()
        expect(pressed(page)).to_have_text(name)
        expect(where(page)).to_have_text(f"Most of the evidence for {name} is {side} of the centre.")
        warm = warmth(map_of(page))
        left, right = warm[:, :16].mean(), warm[:, -16:].mean()
        assert (left > right + 50) == (side == "left")
        expect(page.get_by_role("img", name=f"Where the evidence for {name} is")).to_be_visible()
    values = next(
        one["evidence"]["values"] for one in predicted(page)["results"][0]["predictions"] if one["label"] == "blue"
    )
    expect(page.locator(".sight .key-for")).to_have_text(f"for, up to\u00a0+{np.max(values):.2g}")
    expect(page.locator(".sight .key-against")).to_have_text(f"against, up to\u00a0−{-np.min(values):.2g}")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_photo_below_the_map_is_grey_and_the_colours_are_those_of_the_map(visit: Visit, scheme: Scheme) -> None:
    page = asking_why(visit(scheme=scheme))
    choose(page, picture("green.png", halves("green", "red")))
    expect(page.locator("#result .seen img")).to_be_visible()
    classes(page).filter(has_text="green").click()
    with Image.open(io.BytesIO(page.locator("#result .seen .frame").screenshot())) as shot:
        pixels = np.asarray(shot.convert("RGB"), float)
    _, width, _ = pixels.shape
    left, right = (pixels[width // 4 : -width // 4, part].mean(axis=(0, 1)) for part in (slice(9, 40), slice(-40, -9)))
    assert left[0] > left[1] > left[2]  # orange, and no longer green
    assert right[2] > right[1] > right[0]  # blue, and no longer red
    report = Axe().run(page)
    assert report.violations_count == 0, report.generate_report()


def test_the_switch_and_the_classes_are_worked_with_the_keyboard(page: Page) -> None:
    page.get_by_role("button", name="Take a photo").focus()
    page.keyboard.press("Tab")
    expect(switch(page)).to_be_focused()
    page.keyboard.press("Space")
    expect(switch(page)).to_be_checked()
    choose(page, HALVES)
    first = predicted_label(page, 0)
    expect(pressed(page)).to_have_text(first)
    classes(page).nth(0).focus()
    page.keyboard.press("Tab")
    expect(classes(page).nth(1)).to_be_focused()
    page.keyboard.press("Enter")
    expect(pressed(page)).to_have_text(predicted_label(page, 1))
    expect(page.get_by_role("status").filter(has_text="of the centre")).to_contain_text(predicted_label(page, 1))


def predicted_label(page: Page, rank: int) -> str:
    expect(page.locator("#result .bars")).to_be_visible()
    return str(predicted(page)["results"][0]["predictions"][rank]["label"])


def test_of_several_photos_each_has_its_map_and_a_bad_one_spoils_only_itself(page: Page) -> None:
    requests = asked(page)
    choose(page, HALVES, BROKEN, picture("turned.png", halves().rotate(180)))
    cards = page.locator(".card")
    cards.nth(2).click()
    switch(page).check()
    classes(page).filter(has_text="red").click()
    expect(where(page)).to_have_text("Most of the evidence for red is right of the centre.")
    expect(cards.nth(2)).to_have_attribute("aria-pressed", "true")  # the photo that was looked at
    cards.nth(1).click()
    expect(page.locator("#result .alert")).to_be_visible()
    expect(page.locator(".map")).to_have_count(0)
    cards.nth(0).click()
    classes(page).filter(has_text="red").click()
    expect(where(page)).to_have_text("Most of the evidence for red is left of the centre.")
    assert requests == ["", "?explain=true"]


def test_photos_that_are_sent_one_by_one_have_maps_too(visit: Visit) -> None:
    visit.expected.append(REFUSED)
    page = asking_why(visit())
    choose(page, HALVES, HALVES, HALVES, HALVES)
    expect(page.locator(".card")).to_have_count(4)
    expect(page.locator(".map")).to_have_count(1)
    assert "predict?explain=true" in page.locator(".command code").inner_text()


@pytest.mark.parametrize("photos", [1, 3])
def test_weights_that_give_no_features_say_so_and_the_photos_are_answered(
    visit: Visit, featureless: str, photos: int
) -> None:
    visit.expected.append(REFUSED)
    page = asking_why(visit(url=featureless))
    requests = asked(page)
    choose(page, *[HALVES] * photos)
    expect(page.locator("#result h3")).to_be_visible()
    expect(switch(page)).not_to_be_checked()
    note = page.get_by_role("status").filter(has_text="gives no features")
    expect(note).to_contain_text("Colours 0.25/128 gives no features, so that there are neither explanations")
    expect(page.locator(".map")).to_have_count(0)
    expect(page.get_by_role("alert")).to_be_hidden()
    assert requests[-1] == ""
    switch(page).click()  # whoever tries again is told again
    expect(note).to_be_visible()
    expect(switch(page)).not_to_be_checked()


def test_a_map_is_shown_where_what_the_network_saw_cannot_be(visit: Visit) -> None:
    visit.expected.append(REFUSED)
    page = asking_why(visit())
    problem = json.dumps({"status": 429, "code": "queue_full", "detail": "too many pictures are being drawn"})
    page.route("**/preview?*", lambda route: route.fulfill(status=429, body=problem))
    choose(page, HALVES)
    expect(page.locator("#result .seen figcaption")).to_have_text("Too many pictures are being drawn.")
    classes(page).filter(has_text="red").click()
    warm = warmth(map_of(page))
    assert warm[:, :16].mean() > warm[:, -16:].mean() + 50
    expect(page.locator("#result .map")).to_be_visible()


def test_there_is_no_map_over_what_another_network_would_see_until_a_class_is_chosen(page: Page) -> None:
    choose(asking_why(page), HALVES)
    sides = page.get_by_role("group", name="See it at")
    sides.get_by_role("radio", name="192").check()
    expect(page.locator("#result .map")).to_be_hidden()
    expect(page.locator("#result .seen img")).to_have_css("filter", "none")
    classes(page).nth(1).click()
    expect(page.locator("#result .map")).to_be_visible()
    expect(sides.get_by_role("radio", name="64")).to_be_checked()
    expect(page.locator(".seen figcaption")).to_have_text("What the network saw: 64 × 64 pixels")


def test_each_variant_shows_its_own_map_side_by_side(visit: Visit, lineup: Process) -> None:
    page = asking_why(visit(url=lineup.url))
    choose(page, STREET)
    page.get_by_role("button", name="Ask all 2 loaded variants").click()
    maps = page.locator(".compare .maps figure")
    expect(maps).to_have_count(2)
    variants = httpx.post(
        f"{lineup.url}/predict?explain=true&variants=all&top_k=1", content=STREET.read_bytes()
    ).json()["results"][0]["variants"]
    for at, (alpha, side) in enumerate(((0.25, 128), (0.5, 160))):
        (first,) = next(one["predictions"] for one in variants if one["model"]["alpha"] == alpha)
        figure = maps.nth(at)
        expect(figure).to_contain_text(f"α {alpha} @ {side}.")
        expect(figure).to_contain_text(f"evidence for {first['label']} is")
        expect(figure.locator("img")).to_have_js_property("naturalWidth", side)
        drawn = map_of(page, f".compare .maps figure:nth-child({at + 1})")
        check_drawn(drawn, lineup.url, STREET.read_bytes(), first["class_id"], f"alpha={alpha}&resolution={side}")
    switch(page).uncheck()
    expect(page.locator(".compare tbody tr")).to_have_count(2)
    expect(page.locator(".compare .maps")).to_have_count(0)


def check_drawn(drawn: Pixels, url: str, photo: bytes, class_id: int, variant: str) -> None:
    """Check that a map over what the network saw, in grey, is what the service draws itself."""
    side = len(drawn)
    seen, expected = (
        np.asarray(Image.open(io.BytesIO(httpx.post(f"{url}/{path}", content=photo).content)).convert("RGB"), float)
        for path in (f"preview?resolution={side}", f"explain?class={class_id}&{variant}")
    )
    grey = (seen @ [0.299, 0.587, 0.114])[..., None]
    share = drawn[..., 3:] / 255
    np.testing.assert_allclose((1 - share) * grey + share * drawn[..., :3], expected, atol=4)


def a_springer() -> Path:
    return next((SHARED / "imagenette" / "val" / "n02102040").iterdir())


@pytest.mark.parametrize(
    "photo",
    [lambda: STREET, pytest.param(a_springer, marks=needs.REFERENCE_DATA.mark())],
    ids=["a turned drawing", "a photo"],
)
def test_the_map_of_each_class_is_what_the_service_draws(
    visit: Visit, lineup: Process, photo: Callable[[], Path]
) -> None:
    page = asking_why(visit(url=lineup.url))
    choose(page, photo())
    expect(classes(page)).to_have_count(5)
    predictions = predicted(page)["results"][0]["predictions"]
    for rank in (0, 1, 4):
        classes(page).nth(rank).click()
        check_drawn(map_of(page), lineup.url, photo().read_bytes(), predictions[rank]["class_id"], "")


def evidence_js(page: Page, call: str, argument: object) -> Any:
    return page.evaluate(f"async given => {{ const js = await import('./web/evidence.js'); return {call}; }}", argument)


@pytest.mark.parametrize("value", range(1, 9))
def test_the_values_are_turned_as_the_photo_is_shown(scripts: Page, value: int) -> None:
    upright = np.arange(6, dtype=np.float32).reshape(2, 3)
    stored = as_stored(upright, value)
    rows, columns = stored.shape
    given = {"rows": rows, "columns": columns, "values": stored.tolist(), "box": {"orientation": value}}
    assert evidence_js(scripts, "js.upright(given)", given) == upright.tolist()


def test_a_photo_that_its_exif_data_turns_has_its_map_upright(page: Page) -> None:
    choose(asking_why(page), picture("turned.jpg", halves(), "JPEG", exif=orientation(6)))
    classes(page).filter(has_text="red").click()
    expect(where(page)).to_have_text("Most of the evidence for red is above the centre.")
    warm = warmth(map_of(page))
    assert warm[:16].mean() > warm[-16:].mean() + 50


def spots(*places: tuple[int, int], side: int = 5) -> list[list[float]]:
    values = np.full((side, side), -0.1)
    for place in places:
        values[place] = 1
    return values.tolist()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (spots((0, 0)), "Most of the evidence for tench is in the upper left."),
        (spots((0, 2), (1, 2)), "Most of the evidence for tench is above the centre."),
        (spots((1, 4), (0, 3)), "Most of the evidence for tench is in the upper right."),
        (spots((2, 1), (3, 0), (1, 0)), "Most of the evidence for tench is left of the centre."),
        (spots((2, 2)), "Most of the evidence for tench is in the centre."),
        (spots((3, 4), (3, 5), side=7), "Most of the evidence for tench is right of the centre."),
        (spots((3, 0), side=4), "Most of the evidence for tench is in the lower left."),
        (spots((4, 2)), "Most of the evidence for tench is below the centre."),
        (spots((4, 4), (3, 3)), "Most of the evidence for tench is in the lower right."),
        (spots((0, 0), (4, 4)), "The evidence for tench is scattered; on balance it is in the centre."),
        ([[0.2] * 5] * 5, "The evidence for tench is spread over all of the image."),
        ([[0.0, -1.0]] * 2, "Nothing in the image speaks for tench."),
    ],
)
def test_where_the_evidence_is_is_said_in_words(scripts: Page, values: list[list[float]], expected: str) -> None:
    assert evidence_js(scripts, "js.sentence(given, 'tench')", values) == expected


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_nothing_is_wider_than_the_screen(visit: Visit, lineup: Process, width: int) -> None:
    page = asking_why(visit(url=lineup.url, width=width))
    choose(page, STREET, GOLF_BALL)
    page.get_by_role("button", name="Ask all 2 loaded variants").click()
    expect(page.locator(".map")).to_have_count(3)
    assert page.evaluate("document.scrollingElement.scrollWidth") == width
    for part in page.locator(".sight figure, .bars button, .compare").all():
        assert part.evaluate("part => part.scrollWidth <= part.clientWidth")


def test_the_picture_of_the_documentation(visit: Visit, lineup: Process, tmp_path: Path) -> None:
    page = asking_why(complete(visit(url=lineup.url)))
    for _ in range(2 if SCREENSHOTS else 1):  # the times of the first one would be those of workers that start
        choose(page, STREET)
        expect(page.locator("#result .seen img")).to_be_visible()
    page.evaluate("scrollTo(0, 0)")
    boxes = [page.locator(selector).bounding_box() for selector in ("#drop", "#result .sight")]
    assert boxes[0]
    assert boxes[1]
    top, bottom = boxes[0]["y"], boxes[1]["y"] + boxes[1]["height"]
    path = Path(SCREENSHOTS or tmp_path) / "page-why.png"
    clip: FloatRect = {"x": 16, "y": top - 24, "width": 1248, "height": bottom - top + 48}
    page.screenshot(path=path, full_page=True, clip=clip)
    with Image.open(path) as shot:
        assert shot.width == 1248
        assert (warmth(np.asarray(shot.convert("RGB"), float)) > 100).any()
