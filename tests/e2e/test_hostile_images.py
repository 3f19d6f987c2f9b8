"""No image breaks the service: a corpus of damaged and hostile files, sent to the real process in every company."""

import base64
import random
import re
import socket
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Final

import httpx
import pytest
from PIL import Image

from tests.support import corpus
from tests.support.corpus import ANSWERED, EMPTY, TOO_MANY_PIXELS, UNDECODABLE, UNSUPPORTED, Case, Outcome
from tests.support.data import solid
from tests.support.images import encoded, photo, png
from tests.support.processes import Process, Serve

pytestmark = pytest.mark.tensorflow

TIMEOUT_S: Final = 10  # says that there is an answer, and nothing of how fast
PATIENT_S: Final = 60  # for what an image comes to, however busy the machine is
MOST_IMAGES: Final = 32
BODY_BYTES: Final = 20_000_000  # just under the default of `MOBILENET_MAX_BODY_BYTES`
DECODERS: Final = 2
CROWD: Final = 12  # large images, of which each decoder has one at a time

# The default of `MOBILENET_MAX_PIXELS` is 50,000,000. Pillow holds a pixel in 4 bytes, and the greediest kinds of file
# are there four times for a moment: WebP as libwebp's canvas, its frame, the bytes of it and Pillow's image, 32-bit
# TIFF as image, array, clipped and shifted. Measured, each in a process of its own: 766 MB for WebP, 765 for that TIFF,
# 574 for LA, at most 430 for all others. A decoder has one image at a time, and what that took is given back before the
# next. Small things have the rest: bodies, answers, what an allocator keeps.
IMAGE_KB: Final = 50_000_000 * 4 * 4 // 1024
SMALL_THINGS_KB: Final = 100 * 1024

# A path, a traceback, an address, a module, a type or a version: nothing that an error text may hold.
REVEALING: Final = re.compile(
    r"[/\\]|\.py\b|\bline \d|0x|[<>_]|Traceback|Error|Exception|Errno|\d+\.\d+"
    r"|(?i:\b(?:pil|pillow|python|numpy|libjpeg|libtiff|libwebp|zlib|litert|tensorflow|starlette|uvicorn|fastapi)\b)"
)

GOOD: Final = encoded(photo(), "JPEG")


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    return corpus.corpus()


@pytest.fixture(scope="module")
def service(serve: Serve, own: dict[str, object]) -> Process:
    """A process of its own, whose peak of memory no other test has raised."""
    return serve(**own, MODEL_WORKERS=DECODERS, REQUEST_TIMEOUT_MS=PATIENT_S * 1000)


@pytest.fixture(scope="module")
def client(service: Process) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=service.url, timeout=PATIENT_S) as client:
        yield client


def sent(client: httpx.Client, item: Case) -> httpx.Response:
    return client.post("/predict", content=item.data, headers={"Content-Type": item.content_type})


def ask(client: httpx.Client, image: bytes) -> dict[int, float]:
    """Return the probabilities of all classes for a good image."""
    response = client.post("/predict", params={"top_k": 12}, content=image)
    assert response.status_code == 200, response.text
    return probabilities(response.json()["results"][0])


def probabilities(result: dict[str, Any]) -> dict[int, float]:
    return {item["class_id"]: item["probability"] for item in result["predictions"]}


def outcome(response: httpx.Response) -> Outcome:
    """Return what an image that was sent alone got, its text checked."""
    body = response.json()
    return ANSWERED if response.status_code == 200 else of_problem(body, response.status_code)


def outcome_within(result: dict[str, Any]) -> Outcome:
    """Return what one image of several got."""
    return of_problem(result["error"], result["error"]["status"]) if "error" in result else ANSWERED


def of_problem(problem: dict[str, Any], status: int) -> Outcome:
    assert problem["status"] == status
    assert not REVEALING.search(f"{problem['title']}: {problem['detail']}"), problem
    return Outcome(status, problem["code"])


@contextmanager
def unharmed(service: Process, client: httpx.Client, images_at_once: int) -> Iterator[None]:
    """The very same process answers the same afterwards, with memory for so many images at once and no traceback."""
    alone, before = ask(client, GOOD), service.status("VmHWM")
    yield
    assert service.popen.poll() is None
    assert ask(client, GOOD) == pytest.approx(alone, abs=1e-5)
    assert service.status("VmHWM") - before < images_at_once * IMAGE_KB + SMALL_THINGS_KB
    assert "Traceback" not in service.log.read_text()


def test_every_file_sent_alone_is_answered_or_refused_as_documented(
    cases: list[Case], service: Process, client: httpx.Client
) -> None:
    with unharmed(service, client, images_at_once=1):
        outcomes = {item.name: outcome(sent(client, item)) for item in cases}
    assert {item.name: outcomes[item.name] for item in cases if outcomes[item.name] not in item.allowed} == {}


def test_among_others_every_file_has_the_same_outcomes_and_the_others_are_answered(
    cases: list[Case], service: Process, client: httpx.Client
) -> None:
    wrong = {}
    with unharmed(service, client, images_at_once=DECODERS):
        for group in mixed(cases):
            files = [("image", (item.filename, item.data, item.content_type)) for item in group]
            response = client.post("/predict", files=files)
            assert response.status_code == 200, response.text
            for item, result in zip(group, response.json()["results"], strict=True):
                if (got := outcome_within(result)) not in item.allowed:
                    wrong[item.name] = got
    assert wrong == {}


def mixed(cases: Sequence[Case]) -> list[list[Case]]:
    """Spread the cases over requests, so that none has all that is large, with a good photo at the end of each."""
    count = -(-len(cases) // (MOST_IMAGES - 1))
    return [[*cases[start::count], corpus.case("good", GOOD, ANSWERED)] for start in range(count)]


def test_of_32_images_with_5_broken_27_are_answered_and_5_have_their_own_error_in_order(
    service: Process, client: httpx.Client
) -> None:
    broken = {
        0: (b"", EMPTY),
        7: (GOOD[: len(GOOD) // 2], UNDECODABLE),
        8: (png(20_000, 20_000), TOO_MANY_PIXELS),
        20: (b"%PDF-1.7\n", UNSUPPORTED),
        31: (encoded(photo(), "PNG")[:-200], UNDECODABLE),
    }
    good = {at: solid((8 * at, 255 - 8 * at, at % 3 * 100)) for at in range(MOST_IMAGES) if at not in broken}
    images = [broken[at][0] if at in broken else good[at] for at in range(MOST_IMAGES)]
    with unharmed(service, client, images_at_once=DECODERS):
        alone = {at: ask(client, image) for at, image in good.items()}
        body = {"images": [base64.b64encode(image).decode() for image in images]}
        results = client.post("/predict", params={"top_k": 12}, json=body).json()["results"]
    assert len({tuple(answer) for answer in alone.values()}) > 1, "the images look all alike"
    assert len(alone) == 27
    for at, result in enumerate(results):
        if at in broken:
            assert outcome_within(result) == broken[at][1], at
        else:
            assert probabilities(result) == pytest.approx(alone[at], abs=1e-5), at


def test_in_traffic_of_which_a_third_is_garbage_every_good_image_gets_the_answer_it_gets_alone(
    cases: list[Case], service: Process, client: httpx.Client
) -> None:
    garbage = [item for item in cases if ANSWERED not in item.allowed]
    choice = random.Random(0)
    good = [encoded(photo(60 + 90 * size, 200), form) for form in corpus.FORMATS for size in range(4)]
    good += [encoded(corpus.noisy(), "JPEG", quality=quality) for quality in (60, 75, 85)]
    alone = {image: ask(client, image) for image in good}
    traffic = [choice.choice(garbage) if at % 3 == 0 else choice.choice(good) for at in range(900)]

    def fails(item: Case | bytes) -> str | None:
        if isinstance(item, Case):
            return None if outcome(sent(client, item)) in item.allowed else item.name
        return None if ask(client, item) == pytest.approx(alone[item], abs=1e-5) else "another answer than alone"

    with unharmed(service, client, images_at_once=DECODERS), ThreadPoolExecutor(16) as threads:
        assert [failure for failure in threads.map(fails, traffic) if failure] == []


@pytest.fixture
def two_decoders(serve: Serve, own: dict[str, object]) -> Iterator[httpx.Client]:
    service = serve(**own, MODEL_WORKERS=DECODERS)
    with httpx.Client(base_url=service.url, timeout=TIMEOUT_S) as client:
        yield client


def test_files_as_long_as_a_body_that_cost_a_step_every_few_bytes_hold_no_decoder_past_the_deadline(
    service: Process, client: httpx.Client
) -> None:
    wrong = {}
    for item in [*corpus.headers(BODY_BYTES), *corpus.endless(BODY_BYTES)]:
        before = service.cpu_s()
        got = outcome(sent(client, item))
        spent_s = service.cpu_s() - before  # of the CPU, as a busy machine takes its time by the clock
        if got not in item.allowed or spent_s > TIMEOUT_S:
            wrong[item.name] = (got, spent_s)
    assert wrong == {}
    assert ask(client, GOOD)


def test_while_large_images_wait_for_their_turn_small_ones_are_answered(two_decoders: httpx.Client) -> None:
    large = encoded(Image.new("RGB", (corpus.NEAR_SIDE, corpus.NEAR_SIDE)), "WEBP")
    images = {"images": [base64.b64encode(large).decode()] * CROWD}
    with ThreadPoolExecutor(1) as thread:
        crowd = thread.submit(two_decoders.post, "/predict", json=images, timeout=2 * TIMEOUT_S)
        while two_decoders.get("/metrics").text.find(f"mobilenet_queue_images {CROWD}.0") < 0:
            assert not crowd.done()
        for _ in range(2):
            assert ask(two_decoders, GOOD)
        assert not crowd.done(), "all were decoded before the small one could wait for them"
        results = crowd.result().json()["results"]
    # Those whose turn does not come before the deadline have their own error.
    assert {of_problem(item["error"], 504).code for item in results if "error" in item} <= {"deadline_exceeded"}
    assert any("predictions" in item for item in results)


def test_a_photo_that_arrives_whole_with_its_headers_is_as_good_as_one_in_pieces(
    service: Process, client: httpx.Client
) -> None:
    image = encoded(corpus.noisy(), "JPEG", quality=75)
    head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(image)}\r\nConnection: close\r\n\r\n"
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2**20)
        connection.settimeout(TIMEOUT_S)
        connection.connect((client.base_url.host, client.base_url.port))
        connection.sendall(head.encode() + image)
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 OK")
