"""`POST /predict` at the ASGI border: what its head decides, clients that leave, and bugs."""

import asyncio
import gc
import weakref
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Self, cast

import pytest

from app.api.predict import Predict
from app.api.security import Guard
from app.config import Settings
from app.errors import Draining, NotFound, QueueFull, ServiceError
from app.main import create_app
from app.mobilenet.variants import Variant
from app.observability.metrics import Metrics
from app.observability.trace import Requests
from app.prediction.budget import Candidate
from app.prediction.classifier import Classifier
from app.prediction.selection import Cascade, Plan, SideBySide, Single
from tests.support.asgi import Client, Held, admitted, ended, get, ready
from tests.support.data import solid
from tests.support.fakes import COLOURS, colour_model, serving


def statuses(caplog: pytest.LogCaptureFixture) -> list[int]:
    """Return the statuses in the log of requests."""
    lines = [record.facts for record in caplog.records if record.name == "app.access"]  # type: ignore[attr-defined]
    return [line["status"] for line in lines]


async def test_an_image_whose_client_left_is_never_run_and_the_others_are() -> None:
    engine = Held()
    app = create_app(Settings(max_batch_size=1), serving(replace(colour_model(), engine=engine)))
    image = solid(COLOURS["red"])
    async with app.router.lifespan_context(app):
        await ready(app)
        engine.armed = True
        first = Client(app, image)
        await asyncio.to_thread(engine.running.wait, 10)
        leaver, stayer = Client(app, image), Client(app, image)
        await admitted(app, 3)
        leaver.left.set()
        await ended(leaver)
        engine.gate.set()
        await ended(first, stayer)
    assert (first.status, stayer.status, leaver.sent) == (200, 200, [])
    assert b'mobilenet_dropped_total{reason="departed"} 1.0' in await get(app, "/metrics")
    assert engine.ran == 2


async def test_a_client_that_leaves_while_it_uploads_is_no_error_of_ours(caplog: pytest.LogCaptureFixture) -> None:
    app = create_app(Settings(), serving(colour_model()))
    async with app.router.lifespan_context(app):
        await ready(app)
        with caplog.at_level("INFO", logger="app.access"):
            client = Client(app, None)
            client.left.set()
            await ended(client)
    assert (client.sent, statuses(caplog)) == ([], [499])
    assert not [record for record in caplog.records if record.levelname in ("ERROR", "CRITICAL")]


LARGE, SMALL = Variant(0.5, 160), Variant(0.25, 128)
FULL = QueueFull("no room", {"Retry-After": "3"}, {"queue_depth": 7, "estimated_wait_ms": 2500})


class Desk:
    """A classifier whose large variant says why it admits nothing, while the small one has room."""

    model = colour_model()

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def check_room(self, plan: Plan) -> None:
        """Raise what is wrong, or stop where the body would be read."""
        match plan:
            case Single(variants):
                full = SMALL not in variants
            case Cascade(stages):
                full = LARGE in stages
            case SideBySide():
                full = False
        raise self.error if full else BodyWanted("there is room")

    def candidates(self) -> list[Candidate]:
        """Return what is known of both."""
        return [Candidate(LARGE, 2000, 0.9, 20.0), Candidate(SMALL, 1000, 0.8, 10.0)]


class BodyWanted(NotFound):
    """Is raised in place of reading the body."""


def asking(desk: Any, *headers: tuple[bytes, bytes], query: bytes = b"", **settings: Any) -> Client:
    """Ask a classifier for a prediction whose body never comes."""
    given = Settings(**settings)
    predict = Predict(given, Guard(given.api_keys), lambda: desk, Requests(Metrics()))
    return Client(predict, None, *headers, query=query)


async def answered(client: Client) -> int:
    """Wait for the response; return its status."""
    await ended(client)
    return client.status


NEEDS_LARGE = [b"", b"top_k=1", b"min_accuracy=0.85", b"cascade=0.25/128,0.5/160&threshold=1", b"degrade=never"]
NEEDS_SMALL = [
    b"alpha=0.25&resolution=128",
    b"max_macs=1500&top_k=2",
    b"max_latency_ms=15.5",
    b"variants=all",
    b"variants=0.25%2F128",
    b"degrade=allow",
]
WRONG = {
    b"top_k=0": "1 and 6, the number of classes",
    b"top_k=x": "top_k must be a whole number",
    b"top_k=1#2": "top_k must be a whole number",
    b"alpha=": "alpha must be a number",
    b"alpha=0.3": "0.3",
    b"alpha=0.75&resolution=224": "0.5/160, 0.25/128",
    b"resolution=33": "multiple of 32",
    b"resolution=2080": "2048",
    b"resolution=32" + b"0" * 310: "2048",
    b"variants=0.25/" + b"9" * 60_000: "such as 0.5/160",
    b"max_macs=0": "max_macs must be at least 1",
    b"max_macs=999": "nearest that is feasible",
    b"max_latency_ms=0": "max_latency_ms must be more than 0",
    b"max_latency_ms=nan": "max_latency_ms must be a finite number",
    b"max_latency_ms=inf": "max_latency_ms must be a finite number",
    b"min_accuracy=1.5": "min_accuracy must be at most 1",
    b"min_accuracy=-0.1": "min_accuracy must be at least 0",
    b"variants=": "such as 0.5/160",
    b"variants=0.5": "such as 0.5/160",
    b"cascade=0.25/128": "two or more",
    b"cascade=0.25/128,0.25/128": "two or more",
    b"cascade=0.25/128,0.5/160&threshold=1.1": "threshold must be at most 1",
    b"cascade=0.25/128,0.5/160&threshold=-0.1": "threshold must be at least 0",
    b"threshold=0.5": "cascade",
    b"alpha=0.25&max_macs=1500": "exclude each other",
    b"degrade=perhaps": "degrade must be 'allow' or 'never'",
    b"top_k=1&top_k=2": "top_k is given twice; once is allowed",
    b"foo=1": "foo: there is no such parameter; this route has alpha, resolution, max_macs, ",
    b"variants=" + b"0.25/128," * 30 + b"1/224": "1/224 is not loaded",
}
"""Queries, and what their problems say."""


@pytest.mark.parametrize("query", [*NEEDS_LARGE, *NEEDS_SMALL])
async def test_without_room_only_who_needs_it_is_refused_and_no_body_is_read(query: bytes) -> None:
    client = asking(Desk(FULL), (b"x-request-id", b"mine"), query=query)
    assert await answered(client) == (429 if query in NEEDS_LARGE else 404)
    assert client.asked == 0
    if query in NEEDS_LARGE:
        facts = {"code": "queue_full", "detail": "no room", "request_id": "mine", "queue_depth": 7}
        assert client.problem.items() >= facts.items()
        assert client.headers.items() >= {b"retry-after": b"3", b"x-request-id": b"mine"}.items()


@pytest.mark.parametrize(
    ("query", "variant"),
    [
        (b"", "0.25/64"),
        (b"alpha=0.5&resolution=160", "0.5/160"),
        (b"variants=all", "0.5/160"),
        (b"cascade=0.25/128,0.5/160", "0.25/128"),
        (b"max_macs=1500", "0.25/128"),
    ],
)
async def test_the_log_says_which_variant_a_request_wanted_that_was_not_answered(
    query: bytes, variant: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", logger="app.access"):
        assert await answered(asking(Desk(FULL), query=query)) != 200
    assert [record.facts["variant"] for record in caplog.records] == [variant]  # type: ignore[attr-defined]


async def test_a_body_that_is_said_to_have_more_bytes_than_a_number_has_digits_is_too_large() -> None:
    desk = cast("Classifier", LateDesk(FULL))
    predict = Predict(Settings(), Guard(()), lambda: desk, Requests(Metrics()))
    client = Client(predict, None, (b"content-length", b"9" * 5000))
    assert (await answered(client), client.asked) == (413, 0)


@pytest.mark.parametrize(("query", "says"), WRONG.items())
async def test_what_is_wrong_with_a_query_is_said_before_the_body_is_read(query: bytes, says: str) -> None:
    client = asking(Desk(FULL), query=query)
    assert await answered(client) in (404, 422)
    assert says in client.problem["detail"]
    assert client.asked == 0


@pytest.mark.parametrize(
    ("milliseconds", "says"),
    [
        (b"0", "X-Request-Timeout-Ms 0 is not between 1 and 10000"),
        (b"10001", "X-Request-Timeout-Ms 10001 is not between 1 and 10000"),
        (b"9" * 5000, "X-Request-Timeout-Ms has too many digits"),
        (b"soon", "X-Request-Timeout-Ms must be a whole number"),
        (b"1.5", "X-Request-Timeout-Ms must be a whole number"),
    ],
    ids=["0", "10001", "very many digits", "soon", "1.5"],
)
async def test_a_deadline_that_cannot_be_kept_is_refused(milliseconds: bytes, says: str) -> None:
    client = asking(Desk(FULL), (b"x-request-timeout-ms", milliseconds))
    assert await answered(client) == 422
    assert client.problem["detail"].startswith(says)


async def test_where_degrading_is_set_a_smaller_variant_has_room_too() -> None:
    assert await answered(asking(Desk(FULL), degrade=True)) == 404
    assert await answered(asking(Desk(FULL), degrade=True, query=b"degrade=never")) == 429


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ((b"authorization", b"Bearer one"), 429),
        ((b"x-api-key", b"two"), 429),
        ((b"authorization", b"Bearer three"), 401),
        ((b"authorization", b"Basic one"), 401),
        ((b"x-else", b"one"), 401),
    ],
)
async def test_only_who_has_a_key_is_told_of_the_queue(header: tuple[bytes, bytes], status: int) -> None:
    client = asking(Desk(FULL), header, api_keys="one,two")
    assert await answered(client) == status
    assert client.asked == 0


async def test_a_bug_while_the_head_is_read_is_a_500_with_a_traceback_and_a_count(
    caplog: pytest.LogCaptureFixture,
) -> None:
    metrics, desk = Metrics(), Desk(KeyError("candidates"))
    with caplog.at_level("INFO"):
        client = Client(Predict(Settings(), Guard(()), lambda: cast("Classifier", desk), Requests(metrics)), None)
        assert await answered(client) == 500
    assert client.problem["code"] == "internal_error"
    assert "candidates" not in str(client.problem)
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [KeyError]
    assert statuses(caplog) == [500]
    assert 'mobilenet_requests_total{route="/predict",status="500"} 1.0' in metrics.render().decode()


async def test_a_refusal_is_counted() -> None:
    metrics = Metrics()
    predict = Predict(Settings(), Guard(()), lambda: cast("Classifier", Desk(FULL)), Requests(metrics))
    for _ in range(3):
        assert await answered(Client(predict, None)) == 429
    text = metrics.render().decode()
    assert 'mobilenet_rejected_total{reason="queue_full"} 3.0' in text
    assert 'mobilenet_requests_total{route="/predict",status="429"} 3.0' in text
    assert "mobilenet_requests_in_flight 0.0" in text


class Refusing(Desk):
    """A classifier without room, whose errors are known by weak references."""

    def __init__(self) -> None:
        self.raised: list[weakref.ref[ServiceError]] = []

    def check_room(self, plan: Plan) -> None:
        """Raise an error of its own for each request."""
        error = QueueFull("no room")
        self.raised.append(weakref.ref(error))
        try:
            raise error
        finally:
            del error  # or it would be in a circle by this frame


async def test_a_refusal_leaves_no_garbage_in_a_circle() -> None:
    desk = Refusing()
    gc.disable()  # its work would take a tenth of a flood of refusals
    try:
        assert await answered(asking(desk)) == 429
        assert desk.raised[0]() is None
    finally:
        gc.enable()


STOPPING = Draining("the service is stopping", {"Retry-After": "1"})


class LateDesk(Desk):
    """A classifier that has room when it is asked, and none any more once the body has come."""

    def check_room(self, plan: Plan) -> None:
        """Say that there is room."""

    async def classify(self, payloads: Sequence[Any], *_: object) -> list[ServiceError]:
        """Refuse the request, as a variant does that is full, or its image, as the queue of large images does."""
        if payloads == [b"whole"]:
            raise self.error
        return [cast("ServiceError", self.error)]


@pytest.mark.parametrize("error", [FULL, STOPPING])
@pytest.mark.parametrize("body", [b"whole", b"image"])
async def test_who_is_refused_late_is_told_when_to_come_again_too(error: ServiceError, body: bytes) -> None:
    desk = cast("Classifier", LateDesk(error))
    client = Client(Predict(Settings(), Guard(()), lambda: desk, Requests(Metrics())), body)
    assert await answered(client) == error.status
    assert client.headers[b"retry-after"] == error.headers["Retry-After"].encode()
    assert client.problem.items() >= {"code": error.code, **error.facts}.items()


@pytest.mark.parametrize("path", ["/predictions", "/predict/", "/preview", "/v2/models/mobilenet/infer"])
async def test_other_paths_and_methods_are_left_to_the_application(path: str) -> None:
    assert not Predict.answers({"type": "http", "method": "POST", "path": path})
    assert not Predict.answers({"type": "http", "method": "GET", "path": "/predict"})
    assert not Predict.answers({"type": "lifespan"})


def test_below_a_prefix_that_a_proxy_stripped_it_is_the_same_route() -> None:
    assert Predict.answers({"type": "http", "method": "POST", "path": "/vision/predict", "root_path": "/vision"})
