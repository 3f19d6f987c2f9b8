"""Which requests go straight to the classifier, and which are refused by their head; e2e has the rest."""

import json
from collections.abc import Callable, Sequence
from typing import Any, cast

import pytest

from app.api.express import Express, Prediction
from app.api.reply import Fields
from app.config import Settings
from app.errors import Draining, QueueFull
from app.mobilenet.variants import Variant
from app.observability.metrics import Metrics
from app.prediction.budget import Candidate
from app.prediction.classifier import Classifier
from tests.support.fakes import colour_model

LARGE, SMALL = Variant(0.5, 160), Variant(0.25, 128)
FULL = QueueFull("no room", {"Retry-After": "3"}, {"queue_depth": 7, "estimated_wait_ms": 2500})
PHOTO: Fields = [(b"host", b"x"), (b"content-type", b"image/jpeg"), (b"content-length", b"13000")]
Take = Callable[..., Prediction | bytes | None]


class Desk:
    """A classifier whose first variant has room, or says why not; the second, a smaller one, always has."""

    model = colour_model()

    def __init__(self, error: Exception | None) -> None:
        self.error = error

    def check_room(self, variants: Sequence[Variant] = ()) -> None:
        """Raise what is wrong."""
        if self.error is not None and SMALL not in variants:
            raise self.error

    def check_room_to_compare(self) -> None:
        """Raise nothing: there is room."""

    def candidates(self) -> list[Candidate]:
        """Return what is known of both."""
        return [Candidate(LARGE, 2000, 0.9, 20.0), Candidate(SMALL, 1000, 0.8, 10.0)]


def express(error: Exception | None = None, *, metrics: Metrics | None = None, **settings: Any) -> Take:
    """Return what decides over the head of a POST."""
    desk = cast("Classifier", Desk(error))
    decide = Express(Settings(**settings), lambda: desk, metrics or Metrics())
    return lambda target=b"/predict", fields=PHOTO: decide.take(target, fields, [(b"date", b"today")])


KINDS = [
    b"image/jpeg",
    b"image/PNG; a=b",
    b"application/octet-stream",
    b"",
    b"application/json",
    b"multipart/form-data; boundary=x",
]


QUERIES = [
    b"top_k=1",
    b"alpha=0.25&resolution=128",
    b"max_macs=1500&top_k=2",
    b"max_latency_ms=15.5",
    b"min_accuracy=0.85",
    b"variants=all",
    b"variants=0.25%2F128",
    b"cascade=0.25/128,0.5/160&threshold=1",
    b"degrade=allow",
    b"degrade=never",
]


@pytest.mark.parametrize("kind", KINDS)
def test_images_without_wishes_are_taken_in_any_form(kind: bytes) -> None:
    assert isinstance(express()(fields=[(b"content-type", kind), (b"content-length", b"1")]), Prediction)


@pytest.mark.parametrize("query", QUERIES)
def test_wishes_that_can_be_met_are_taken(query: bytes) -> None:
    assert isinstance(express()(b"/predict?" + query), Prediction)


@pytest.mark.parametrize("milliseconds", [b"1", b"10000"])
def test_a_deadline_of_its_own_is_taken(milliseconds: bytes) -> None:
    assert isinstance(express()(fields=[*PHOTO, (b"x-request-timeout-ms", milliseconds)]), Prediction)


WRONG = [
    b"top_k=0",
    b"top_k=1000",
    b"top_k=x",
    b"top_k=1&top_k=2",
    b"top_k=1#2",
    b"unknown=1",
    b"alpha=",
    b"alpha=0.3",
    b"alpha=0.75&resolution=224",
    b"max_macs=0",
    b"max_macs=999",
    b"max_latency_ms=nan",
    b"variants=",
    b"variants=1/224",
    b"cascade=0.25/128",
    b"threshold=0.5",
    b"alpha=0.25&max_macs=1500",
    b"degrade=perhaps",
    b"variants=" + b"0.25/128," * 30 + b"0.5/160",
]
"""Queries of which there is something to say."""


@pytest.mark.parametrize(
    ("target", "fields"),
    [
        *((b"/predict?" + query, PHOTO) for query in WRONG),
        (b"/predict/", PHOTO),
        (b"/preview", PHOTO),
        (b"/v2/models/mobilenet/infer", PHOTO),
        (b"http://x/predict", PHOTO),
        (b"/predict", [*PHOTO, (b"x-request-timeout-ms", b"0")]),
        (b"/predict", [*PHOTO, (b"x-request-timeout-ms", b"10001")]),
        (b"/predict", [*PHOTO, (b"x-request-timeout-ms", b"9" * 5000)]),
        (b"/predict", [*PHOTO, (b"x-request-timeout-ms", b"soon")]),
        (b"/predict", [*PHOTO, (b"origin", b"https://example.org")]),
        (b"/predict", [*PHOTO, (b"upgrade", b"websocket")]),
        (b"/predict", [(b"content-type", b"image/jpeg"), (b"transfer-encoding", b"chunked")]),
        (b"/predict", [(b"content-type", b"image/jpeg")]),
        (b"/predict", [(b"content-type", b"image/jpeg"), (b"content-length", b"0")]),
        (b"/predict", [(b"content-type", b"image/jpeg"), (b"content-length", b"101")]),
        (b"/predict", [(b"content-type", b"text/plain"), (b"content-length", b"9")]),
    ],
)
def test_any_other_request_is_left_to_the_application(target: bytes, fields: Fields) -> None:
    assert express(max_body_bytes=100 if fields[-1][1] == b"101" else 10**6)(target, fields) is None


def test_without_room_a_prediction_of_any_form_is_refused() -> None:
    answer = express(FULL)(b"/predict?top_k=1", [(b"x-request-id", b"mine"), (b"x-request-id", b"other")])
    assert isinstance(answer, bytes)
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0] == "HTTP/1.1 429 Too Many Requests"
    assert {"date: today", "retry-after: 3", "x-request-id: mine", f"content-length: {len(body)}"} <= set(lines)
    facts = {"code": "queue_full", "detail": "no room", "request_id": "mine", "queue_depth": 7}
    assert json.loads(body).items() >= facts.items()


@pytest.mark.parametrize("query", [b"", *QUERIES, *WRONG])
def test_only_who_means_a_variant_without_room_is_refused(query: bytes) -> None:
    taken = express(FULL)(b"/predict?" + query)
    needs_it = {b"", b"top_k=1", b"min_accuracy=0.85", b"cascade=0.25/128,0.5/160&threshold=1", b"degrade=never"}
    full = query in needs_it
    assert isinstance(taken, bytes) == full
    assert isinstance(taken, Prediction) == (query in QUERIES and not full)


def test_where_degrading_is_set_a_smaller_variant_has_room_too() -> None:
    assert isinstance(express(FULL, degrade=True)(), Prediction)
    assert isinstance(express(FULL, degrade=True)(b"/predict?degrade=never"), bytes)


def test_each_refusal_tells_of_the_queue_as_it_is() -> None:
    bodies = []
    for depth in (1, 2, 1):
        error = QueueFull(f"{depth} taken", {"Retry-After": "1"}, {"queue_depth": depth, "estimated_wait_ms": depth})
        answer = express(error)()
        assert isinstance(answer, bytes)
        bodies.append(json.loads(answer.partition(b"\r\n\r\n")[2]))
    assert [body["queue_depth"] for body in bodies] == [1, 2, 1]
    assert len({body["request_id"] for body in bodies}) == 3


def test_without_room_a_tensor_is_refused_in_the_words_that_its_clients_read() -> None:
    metrics = Metrics()
    answer = express(FULL, metrics=metrics)(b"/v2/models/mobilenet/infer", [(b"content-type", b"application/json")])
    assert isinstance(answer, bytes)
    assert answer.startswith(b"HTTP/1.1 429 ")
    body = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert (body["error"], body["code"]) == ("no room", "queue_full")
    assert 'route="/v2/models/{name}/infer",status="429"} 1.0' in metrics.render().decode()


@pytest.mark.parametrize(
    "target", [b"/predictions", b"/preview", b"/healthz", b"/v2/models/resnet/infer", b"/v2/models/mobilenet"]
)
def test_other_routes_are_never_refused(target: bytes) -> None:
    assert express(FULL)(target) is None


def test_who_is_not_refused_for_want_of_room_is_left_to_the_application() -> None:
    assert express(Draining("stopping"))() is None


def test_a_browser_is_left_to_the_application_for_it_needs_the_headers_of_cors() -> None:
    assert express(FULL)(fields=[*PHOTO, (b"origin", b"https://example.org")]) is None


@pytest.mark.parametrize("error", [None, FULL], ids=["room", "full"])
@pytest.mark.parametrize(
    ("field", "admitted"),
    [
        ((b"authorization", b"Bearer one"), True),
        ((b"x-api-key", b"two"), True),
        ((b"authorization", b"Bearer three"), False),
        ((b"authorization", b"Basic one"), False),
        ((b"x-else", b"one"), False),
    ],
)
def test_where_keys_are_set_only_who_has_one_is_taken_or_told_of_the_queue(
    field: tuple[bytes, bytes], admitted: bool, error: Exception | None
) -> None:
    assert (express(error, api_keys="one,two")(fields=[*PHOTO, field]) is not None) == admitted


def test_a_refusal_is_counted() -> None:
    metrics = Metrics()
    for _ in range(3):
        express(FULL, metrics=metrics)()
    text = metrics.render().decode()
    assert 'mobilenet_rejected_total{reason="queue_full"} 3.0' in text
    assert 'mobilenet_requests_total{route="/predict",status="429"} 3.0' in text
