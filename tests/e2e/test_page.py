"""The page, and the documentation, in a real browser: Chromium without a window, on the real process."""

import base64
import io
import json
import re
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, FilePayload, FloatRect, Page, Route, expect

from app.config import Settings
from app.engines.weights import variants
from app.imaging import decode
from app.measurements import Latency
from app.mobilenet.cost import cost
from app.mobilenet.variants import Variant
from app.model import latency
from app.schemas import EXAMPLE_PNG
from tests.support import needs
from tests.support.browsing import (
    GOLF_BALL,
    PARACHUTE,
    REFUSED,
    SCREENSHOTS,
    STREET,
    Scheme,
    Visit,
    answer,
    choose,
    complete,
    pixels,
    predicted,
)
from tests.support.data import rings
from tests.support.processes import Process, Serve
from tests.support.webserver import Site, serving

pytestmark = needs.BROWSER.mark()

RINGS: FilePayload = {"name": "rings.png", "mimeType": "image/png", "buffer": rings()}


@pytest.fixture(scope="module")
def service(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Process:
    """The bundled weights in int8, which need no compiling, as on a machine where all variants were measured."""
    folder = tmp_path_factory.mktemp("measured")
    latency.save(folder, [measured(variant) for variant in variants(Settings(precision="int8"))])
    return serve(PRECISION="int8", MODEL_THREADS=1, CACHE=folder)


def measured(variant: Variant) -> Latency:
    """Return what `mobilenet bench` saves, with a time of which α alone decides: fewer are best in it than in MACs."""
    times_ms = [cost(variant, 10).parameters / 1e6] * latency.MIN_RUNS
    return latency.summary(
        [times_ms],
        variant,
        engine="litert",
        precision="int8",
        classes=10,
        threads=1,
        weights="imagenette",
        contest=latency.now(),
    )


@pytest.fixture
def page(visit: Visit) -> Page:
    """The page with everything shown."""
    return complete(visit())


@pytest.fixture(scope="module")
def lineup(serve: Serve) -> Process:
    """Three variants, for at most two images a request."""
    return serve(PRECISION="int8", VARIANTS="0.25/128,0.75/192", MAX_IMAGES=2)


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """A site of another origin."""
    with serving({}) as site:
        yield site


@pytest.fixture(scope="module")
def locked(serve: Serve, site: Site) -> Iterator[Process]:
    """A service that wants a key, and that pages of the site may call."""
    process = serve(PRECISION="int8", API_KEYS="right-key", CORS_ORIGINS=site.url)
    yield process
    assert process.stop() == 0


def receipt(page: Page) -> dict[str, str]:
    names, values = (page.locator(f".receipt {tag}").all_inner_texts() for tag in ("dt", "dd"))
    return dict(zip(names, values, strict=True))


def test_a_chosen_photo_is_answered_with_bars_and_a_receipt(page: Page) -> None:
    choose(page, GOLF_BALL)
    expect(answer(page)).to_have_text("golf ball")
    body = predicted(page)
    predictions = body["results"][0]["predictions"]
    assert page.locator(".bar-label").all_inner_texts() == [item["label"] for item in predictions]
    assert page.locator("#result .bar-value").first.inner_text() == f"{predictions[0]['probability']:.1%}".replace(
        "%", "\u00a0%"
    )
    widths = page.locator("#result .bars .fill").evaluate_all("bars => bars.map(bar => parseFloat(bar.style.width))")
    assert widths == pytest.approx([item["probability"] * 100 for item in predictions], abs=0.01)
    shown = receipt(page)
    assert shown["MACs a photo"] == f"{body['cost']['macs']:,}"
    assert shown["Parameters"] == f"{body['cost']['parameters']:,}"
    for name, stage in (("Decode", "decode_ms"), ("Queue", "queue_ms"), ("Inference", "inference_ms")):
        assert float(shown[name].split()[0]) == pytest.approx(body["timing"][stage], abs=0.06)
    expect(page.locator("#status")).to_contain_text("golf ball")


def test_the_page_names_the_classes_before_anything_is_uploaded(page: Page) -> None:
    labels = [item["label"] for item in httpx.get(f"{page.url}labels").json()]
    expect(page.locator("#classes")).to_have_text(f"It knows 10 classes and nothing else: {', '.join(labels)}.")


def test_of_many_classes_the_page_names_a_few_and_has_all_one_press_away(visit: Visit) -> None:
    page = complete(visit())
    labels = [f"class {number}" for number in range(1000)]

    def of_many(route: Route) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, json=answer.json() | {"classes": 1000, "labels": labels})

    page.route("**/model-info?*", of_many)
    page.reload()
    complete(page)
    classes = page.locator("#classes")
    expect(classes).to_contain_text("It knows 1,000 classes and nothing else: class 0, class 1,")
    expect(classes).to_contain_text("class 9 and 990 more.")
    expect(classes.get_by_text("class 999")).to_be_hidden()
    classes.get_by_text("All 1,000 classes").click()
    expect(classes.get_by_role("region", name="All classes")).to_have_text(", ".join(labels))


def test_a_photo_that_looks_like_none_of_the_classes_is_said_to_before_the_predictions(page: Page) -> None:
    choose(page, RINGS)
    nearest = predicted_of(page)["predictions"][0]["label"]
    warning = page.locator("#result .answer .unfamiliar")
    expect(warning).to_contain_text("This photo looks like none of the classes that the service knows: tench, ")
    expect(warning).to_contain_text("parachute.")
    assert page.locator("#result .answer > *").first.get_attribute("class") == "unfamiliar"
    expect(page.locator("#result h3")).to_have_text(nearest)
    expect(page.locator("#status")).to_contain_text(f"none of the known classes; the nearest is {nearest}")
    choose(page, PARACHUTE, RINGS)
    expect(page.locator(".card").nth(0)).not_to_contain_text("Looks like none")
    expect(page.locator(".card").nth(1)).to_contain_text("Looks like none of the classes")
    expect(warning).to_be_hidden()


def predicted_of(page: Page) -> Any:
    """Wait for the result of one photo; return it."""
    answer(page)
    (result,) = predicted(page)["results"]
    return result


def test_what_the_network_saw_is_shown_to_the_pixel(page: Page) -> None:
    choose(page, STREET)
    answer(page)
    shown = pixels(page.locator(".seen img"))[..., :3]
    np.testing.assert_array_equal(shown, decode.decode(STREET.read_bytes(), resolution=160, max_pixels=10**7))
    expect(page.locator(".seen figcaption")).to_have_text("What the network saw: 160 × 160 pixels")


def test_what_it_would_see_at_another_resolution_is_one_press_away(page: Page) -> None:
    choose(page, STREET)
    answer(page)
    seen = page.get_by_role("group", name="See it at")
    expect(seen.get_by_role("radio", name="160")).to_be_checked()
    for side in (224, 128):
        seen.get_by_role("radio", name=str(side)).check()
        expect(page.locator(".seen figcaption")).to_have_text(f"What the network would see: {side} × {side} pixels")
        expect(page.locator(".seen img")).to_have_js_property("naturalWidth", side)
    seen.get_by_role("radio", name="160").check()
    expect(page.locator(".seen figcaption")).to_have_text("What the network saw: 160 × 160 pixels")


def test_a_pasted_photo_is_answered(visit: Visit) -> None:
    page = complete(visit(permissions=["clipboard-read", "clipboard-write"]))
    page.evaluate(
        """async bytes => {
            const blob = new Blob([new Uint8Array(bytes)], { type: "image/png" });
            await navigator.clipboard.write([new ClipboardItem({ "image/png": blob })]);
        }""",
        list(PARACHUTE.read_bytes()),
    )
    page.keyboard.press("Control+v")
    expect(answer(page)).to_have_text("parachute")


def test_a_dropped_photo_is_answered(page: Page) -> None:
    files = page.evaluate_handle(
        """bytes => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([new Uint8Array(bytes)], "dropped.jpg", { type: "image/jpeg" }));
            return transfer;
        }""",
        list(STREET.read_bytes()),
    )
    page.dispatch_event("#drop", "dragenter", {"dataTransfer": files})
    expect(page.locator("#drop")).to_have_class(re.compile("over"))
    page.dispatch_event("#drop", "drop", {"dataTransfer": files})
    expect(answer(page)).to_have_text("gas pump")
    expect(page.locator("#drop")).not_to_have_class(re.compile("over"))


def test_a_drawing_of_ours_is_one_press_away(page: Page) -> None:
    page.get_by_role("button", name="a parachute").press("Enter")
    expect(answer(page)).to_have_text("parachute")


def test_several_photos_are_a_grid_and_a_bad_one_spoils_only_itself(page: Page) -> None:
    broken: FilePayload = {"name": "broken.jpg", "mimeType": "image/jpeg", "buffer": STREET.read_bytes()[:900]}
    choose(page, GOLF_BALL, broken, PARACHUTE)
    cards = page.locator(".card")
    expect(cards).to_have_count(3)
    assert [re.split(r"\n", text)[1] for text in cards.all_inner_texts()] == [
        "golf ball",
        "Not classified",
        "parachute",
    ]
    expect(answer(page)).to_have_text("golf ball")
    cards.nth(2).press("Enter")
    expect(page.locator("#result h3")).to_have_text("parachute")
    expect(cards.nth(2)).to_have_attribute("aria-pressed", "true")
    expect(cards.nth(0)).to_have_attribute("aria-pressed", "false")
    cards.nth(1).click()
    expect(page.locator("#result .alert")).to_have_text("The JPEG image is truncated, damaged or of an unusual kind.")
    expect(page.locator("#status")).to_have_text("2 of 3 photos are classified; 1 could not be classified")
    assert receipt(page)["MACs in all"] == "152\u00a0M", "of two photos of 76 million each"
    choose(page, broken, PARACHUTE)
    expect(page.locator("#status")).to_have_text("1 of 2 photos is classified; 1 could not be classified")


def test_more_photos_than_a_request_takes_are_sent_one_by_one(visit: Visit, lineup: Process) -> None:
    visit.expected.append(REFUSED)
    page = complete(visit(url=lineup.url))
    choose(page, GOLF_BALL, PARACHUTE, STREET)
    expect(page.locator(".card-best span")).to_have_text(["golf ball", "parachute", "gas pump"])
    assert page.locator(".command code").inner_text().startswith("curl -F image=@golf-ball.webp")


@pytest.mark.parametrize(
    ("content", "detail"),
    [
        (b"no image at all", "This file is not a JPEG, PNG, WEBP, GIF, BMP, TIFF, HEIC or AVIF image."),
        (STREET.read_bytes()[:900], "The JPEG image is truncated, damaged or of an unusual kind."),
        (b"", "The body is empty; send the bytes of an image."),
    ],
)
def test_what_is_wrong_with_a_photo_is_a_sentence(visit: Visit, content: bytes, detail: str) -> None:
    visit.expected.append(REFUSED)
    page = complete(visit())
    choose(page, GOLF_BALL)
    answer(page)
    choose(page, {"name": "photo.jpg", "mimeType": "image/jpeg", "buffer": content})
    expect(page.get_by_role("alert")).to_have_text(detail)
    expect(page.locator("#result")).to_be_hidden()
    choose(page, GOLF_BALL)
    answer(page)
    expect(page.get_by_role("alert")).to_be_hidden()


def test_a_format_that_no_browser_shows_is_shown_as_the_service_decodes_it(page: Page) -> None:
    buffer = io.BytesIO()
    Image.open(GOLF_BALL).convert("RGB").save(buffer, "TIFF")
    choose(page, {"name": "ball.tiff", "mimeType": "image/tiff", "buffer": buffer.getvalue()})
    expect(answer(page)).to_have_text("golf ball")
    image = page.locator(".sight img").first
    page.wait_for_function("image => image.complete && image.naturalWidth === 160", arg=image.element_handle())


@needs.CURL.mark()
@pytest.mark.parametrize("names", [["golf ball's.webp"], ["one; two.webp", "plain.webp"]])
def test_the_curl_that_is_shown_does_what_the_page_did(page: Page, tmp_path: Path, names: list[str]) -> None:
    for name in names:
        (tmp_path / name).write_bytes(GOLF_BALL.read_bytes())
    choose(page, *(tmp_path / name for name in names))
    answer(page)
    command = page.locator(".command code").inner_text()
    done = subprocess.run(["bash", "-c", f"{command} --silent"], cwd=tmp_path, capture_output=True, check=True)
    assert json.loads(done.stdout)["results"] == predicted(page)["results"]


@pytest.mark.parametrize("width", [1280, 390])
def test_where_several_variants_are_loaded_a_photo_is_compared_side_by_side(
    width: int, visit: Visit, lineup: Process, tmp_path: Path
) -> None:
    page = complete(visit(url=lineup.url, width=width))
    expect(page.locator("#served")).to_contain_text("On request also α 0.75 @ 192, α 0.25 @ 128.")
    choose(page, STREET)
    answer(page)
    page.get_by_role("button", name="Ask all 3 loaded variants").click()
    section = page.get_by_role("region", name="Side by side")
    expect(section.locator("tbody th")).to_have_text(["α 0.25 @ 128", "α 0.5 @ 160", "α 0.75 @ 192"])
    expect(section.locator("b")).to_contain_text("agree: ")
    shown = section.locator("tbody td:nth-child(2)").all_inner_texts()
    asked = httpx.post(f"{lineup.url}/predict?variants=all&top_k=1", content=STREET.read_bytes()).json()["results"][0]
    told = {one["model"]["alpha"]: one["predictions"][0]["label"] for one in asked["variants"]}
    assert shown == [told[alpha] for alpha in sorted(told)]
    section.screenshot(path=Path((width > 1000 and SCREENSHOTS) or tmp_path) / "page-compare.png")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    report = Axe().run(page)
    assert report.violations_count == 0, report.generate_report()
    choose(page, PARACHUTE)  # who wanted it once is not asked again
    expect(section.locator("b")).to_contain_text("parachute")


def test_where_one_variant_is_loaded_there_is_nothing_to_compare(page: Page) -> None:
    choose(page, GOLF_BALL)
    answer(page)
    expect(page.locator(".compare")).to_have_count(0)


def test_the_layer_chart_shows_any_variant_and_is_read_with_the_keyboard(page: Page) -> None:
    columns = page.locator("#cost-chart .mark")
    expect(columns).to_have_count(15)
    page.get_by_role("radio", name="0.75").check(force=True)
    info = page.request.get(f"{page.url}model-info?alpha=0.75&layers=true").json()
    expect(page.locator("#totals")).to_contain_text(f"{info['macs']:,}")
    page.wait_for_function("() => !document.querySelector('#totals').textContent.includes('served now')")
    heights = page.locator("#cost-chart .pointwise").evaluate_all("all => all.map(one => +one.getAttribute('height'))")
    macs = [layer["macs"] for layer in info["layers"] if layer["kind"] == "pointwise"]
    assert np.array(heights) / max(heights) == pytest.approx(np.array(macs) / max(macs), rel=1e-6)
    columns.first.focus()
    page.keyboard.press("ArrowRight")
    readout = page.locator("#cost-readout")
    expect(readout).to_contain_text("Separable convolution 1, stride 1: 80 × 80 × 24 to 80 × 80 × 48")
    page.get_by_label("beside standard convolutions").check()
    expect(page.locator(".ghost")).to_have_count(15)
    page.get_by_text("Every layer as a table").click()
    expect(page.locator("#cost-table tbody tr")).to_have_count(28)
    expect(page.locator(".ablations li")).to_have_count(4)


def test_of_two_variants_chosen_one_after_the_other_the_later_is_shown_whichever_answer_comes_first(page: Page) -> None:
    held: list[Route] = []
    page.route("**/model-info?*", partial(list.append, held))
    page.evaluate(READING)
    for alpha in ("0.75", "0.25"):
        page.get_by_role("radio", name=alpha).check(force=True)
    while len(held) < 2:
        page.wait_for_timeout(20)
    for route, answered in zip(reversed(held), (0.25, 0.75), strict=True):
        route.continue_()
        page.wait_for_function("alpha => window.read.includes(alpha)", arg=answered)
    assert "0.25 @ 160" in page.locator("#totals").inner_text()


READING = """() => {
    window.read = [];
    const ask = window.fetch;
    window.fetch = async (...wanted) => {
        const answer = await ask(...wanted);
        const read = answer.json.bind(answer);
        answer.json = async () => {
            const body = await read();
            setTimeout(() => window.read.push(body.alpha)); // once the page has made of it what it does
            return body;
        };
        return answer;
    };
}"""


def test_the_scatter_has_every_measured_variant_marks_the_served_one_and_opens_its_layers(page: Page) -> None:
    catalogue = page.request.get(page.url + "variants").json()
    known = [item for item in catalogue["variants"] if item["top1"] is not None]
    assert known
    points = page.locator("#variants-chart .point")
    expect(points).to_have_count(len(known))
    expect(page.locator(".served-ring")).to_have_count(1)
    expect(page.locator("#variants-chart [aria-label*='served now']")).to_have_count(1)
    expect(page.locator("#variants-chart .dot.on")).to_have_count(sum(item["macs_frontier"] for item in known))
    expect(page.locator("#variants-lead")).to_contain_text(catalogue["machine"])
    expect(page.locator("#variants-lead")).to_contain_text("validation photos.")
    page.get_by_role("radio", name="Latency").check(force=True)
    expect(page.locator("#variants-chart .dot.on")).to_have_count(sum(item["latency_frontier"] for item in known))
    page.locator("#variants-chart [aria-label^='α 0.25 at 128']").press("Enter")
    expect(page.locator("#totals")).to_contain_text("0.25 @ 128")
    expect(page.get_by_role("radio", name="0.25")).to_be_checked()


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_nothing_is_wider_than_the_screen_or_its_card(visit: Visit, width: int) -> None:
    page = complete(visit(width=width))
    choose(page, GOLF_BALL, PARACHUTE)
    answer(page)
    page.locator("details").evaluate_all("all => all.forEach(one => one.open = true)")
    assert page.evaluate("document.scrollingElement.scrollWidth") == width
    for card in page.locator(".card").all():
        assert card.evaluate("card => card.scrollWidth <= card.clientWidth")


def test_dark_and_light_follow_the_reader(visit: Visit) -> None:
    def brightness(scheme: Scheme) -> float:
        page = complete(visit(scheme=scheme))
        with Image.open(io.BytesIO(page.screenshot())) as picture:
            return float(np.asarray(picture.convert("L")).mean())

    assert brightness("dark") < 60
    assert brightness("light") > 200


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 1280), ("light", 360)])
def test_axe_finds_nothing_that_keeps_anyone_out(visit: Visit, scheme: Scheme, width: int) -> None:
    page = complete(visit(scheme=scheme, width=width))
    rules = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
    options = {"runOnly": rules, "resultTypes": ["violations"]}  # of all else that it looks at only one example
    # Photos change their own section alone; the whole page is looked at once, with everything on it.
    for photos, part in (([], "#classify"), ([GOLF_BALL], "#classify"), ([GOLF_BALL, PARACHUTE], "html")):
        if photos:
            choose(page, *photos)
            answer(page)
        page.locator("details").evaluate_all("all => all.forEach(one => one.open = true)")
        found = Axe().run(page, context=part, options=options)
        assert found.violations_count == 0, found.generate_report()
        assert len(found.response["passes"]) > (20 if part == "html" else 10)


def test_a_locked_service_asks_for_its_key(visit: Visit, locked: Process) -> None:
    visit.expected.append(REFUSED)
    page = visit(url=locked.url)
    field = page.get_by_label("Enter a key to continue")
    field.fill("wrong")
    field.press("Enter")
    expect(page.get_by_role("alert")).to_have_text("The key is wrong.")
    field.fill("right-key")
    field.press("Enter")
    complete(page)
    choose(page, GOLF_BALL)
    answer(page)
    command = page.locator(".command code").inner_text()
    assert '-H "X-API-Key: $KEY"' in command
    assert "right-key" not in page.content()


PAGE_OF_ANOTHER_ORIGIN = """
<script>
const photo = Uint8Array.from(atob(PHOTO), (digit) => digit.charCodeAt(0));
const ask = async (key) => {
    const headers = { Authorization: `Bearer ${key}`, "X-Request-ID": "mine", "Content-Type": "image/png" };
    const response = await fetch(`${URL_OF_SERVICE}/predict`, { method: "POST", body: photo, headers });
    return [response.status, response.headers.get("X-Request-ID"), response.headers.get("Server-Timing") !== null];
};
</script>
"""


def test_a_page_of_another_origin_calls_with_a_key_and_reads_the_headers(
    browser: Browser, locked: Process, site: Site
) -> None:
    photo = base64.b64encode(PARACHUTE.read_bytes()).decode()
    html = PAGE_OF_ANOTHER_ORIGIN.replace("PHOTO", json.dumps(photo)).replace("${URL_OF_SERVICE}", locked.url)
    site.files["/page.html"] = html.encode()
    page = browser.new_page()
    page.goto(f"{site.url}/page.html")
    assert page.evaluate("ask('right-key')") == [200, "mine", True]
    assert page.evaluate("ask('wrong')") == [401, "mine", True]
    page.close()


def test_swagger_ui_renders_and_posts_an_image(visit: Visit) -> None:
    visit.expected.append("JsonSchema_string_binary")  # Swagger UI has no component of that name, and does without
    page = visit("/docs")
    page.locator("#operations-classification-predict .opblock-summary-control").click()
    block = page.locator("#operations-classification-predict")
    block.get_by_role("button", name="Try it out").click()
    block.locator(".content-type").first.select_option("image/webp")
    block.locator("input[type=file]").set_input_files(GOLF_BALL)
    block.get_by_role("button", name="Execute").click()
    expect(block.locator(".live-responses-table .response-col_status").nth(1)).to_contain_text("200")
    expect(block.locator(".live-responses-table")).to_contain_text("golf ball")
    form = block.locator(".opblock-section-request-body")
    form.get_by_role("combobox").first.select_option("multipart/form-data")
    form.locator("input[type=file]").set_input_files(PARACHUTE)
    form.get_by_role("button", name="Add string item").click()  # a field in which no file is chosen
    block.get_by_role("button", name="Execute").click()
    expect(block.locator(".live-responses-table")).to_contain_text("parachute")
    expect(block.locator(".curl-command")).to_have_text(re.compile("image="))
    assert block.locator(".curl-command").inner_text().count("image=") == 1
    form.get_by_role("combobox").first.select_option("application/json")
    body = json.loads(form.locator("textarea").input_value())
    assert body == {"images": [EXAMPLE_PNG]}  # and not what was left of the form


def test_redoc_renders(visit: Visit) -> None:
    visit.expected.append("cdn.redoc.ly")  # its makers' logo, which the policy of the page keeps from being fetched
    page = visit("/redoc")
    expect(page.get_by_role("heading", name="Classify images")).to_be_visible()
    expect(page.get_by_role("heading", name="Compare the variants")).to_be_visible()
    expect(page.get_by_text("Post images: what they show")).to_be_visible()
    expect(page.get_by_text("No sample")).to_have_count(0)


@pytest.mark.parametrize(
    ("name", "width", "scheme", "parts"),
    [
        ("page", 1280, "light", ("header", "#classify")),
        ("page-dark", 1280, "dark", ("#cost", "#variants")),
        ("page-phone", 390, "light", ("header", "#classify")),
    ],
)
def test_the_pictures_of_the_documentation(
    visit: Visit, tmp_path: Path, *, name: str, width: int, scheme: Scheme, parts: tuple[str, str]
) -> None:
    page = complete(visit(width=width, scheme=scheme))
    page.get_by_label("beside standard convolutions").check()
    for _ in range(2 if SCREENSHOTS else 1):  # the times of the first ones would be those of workers that start
        choose(page, GOLF_BALL, PARACHUTE, STREET)
        answer(page)
    page.evaluate("scrollTo(0, 0)")
    boxes = [page.locator(selector).bounding_box() for selector in parts]
    assert boxes[0]
    assert boxes[1]
    top, bottom = boxes[0]["y"], boxes[1]["y"] + boxes[1]["height"]
    path = Path(SCREENSHOTS or tmp_path) / f"{name}.png"
    clip: FloatRect = {"x": 0, "y": max(0, top - 24), "width": width, "height": bottom - top + 48}
    page.screenshot(path=path, full_page=True, clip=clip)
    with Image.open(path) as picture:
        assert picture.width == width
        assert len(picture.convert("RGB").getcolors(10**7) or []) > 100
