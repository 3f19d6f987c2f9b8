"""A refusal made of the head of a request; that it is the application's own answer is tested on the real process."""

import json

import pytest
from pydantic import SecretStr

from app.errors import Draining, QueueFull
from app.metrics import Metrics
from app.refusal import Fields, Refusal
from app.security import Guard

FULL = QueueFull("no room", {"Retry-After": "3"}, {"queue_depth": 7, "estimated_wait_ms": 2500})


def refusal(error: Exception | None = FULL, *keys: str, metrics: Metrics | None = None) -> Refusal:
    def check_room() -> None:
        if error is not None:
            raise error

    return Refusal(check_room, Guard(tuple(map(SecretStr, keys))), metrics or Metrics())


def test_without_room_a_prediction_is_refused_and_nothing_else() -> None:
    refuse = refusal()
    head, _, body = (refuse(b"POST", b"/predict?top_k=1", [(b"x-request-id", b"mine")]) or b"").partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0] == "HTTP/1.1 429 Too Many Requests"
    assert {"retry-after: 3", "x-request-id: mine", f"content-length: {len(body)}"} <= set(lines)
    assert json.loads(body).items() >= {"code": "queue_full", "request_id": "mine", "queue_depth": 7}.items()
    for method, target in ((b"GET", b"/predict"), (b"POST", b"/predictions"), (b"GET", b"/healthz")):
        assert refuse(method, target, []) is None


@pytest.mark.parametrize("error", [None, Draining("stopping")], ids=["room", "stopping"])
def test_who_is_not_refused_for_want_of_room_is_left_to_the_application(error: Exception | None) -> None:
    assert refusal(error)(b"POST", b"/predict", []) is None


def test_a_browser_is_left_to_the_application_for_it_needs_the_headers_of_cors() -> None:
    assert refusal()(b"POST", b"/predict", [(b"origin", b"https://example.org")]) is None


@pytest.mark.parametrize(
    ("fields", "refused"),
    [
        ([(b"authorization", b"Bearer one")], True),
        ([(b"x-api-key", b"two")], True),
        ([(b"authorization", b"Bearer three")], False),
        ([(b"authorization", b"Basic one")], False),
        ([], False),
    ],
)
def test_where_keys_are_set_only_who_has_one_is_told_of_the_queue(fields: Fields, refused: bool) -> None:
    assert (refusal(FULL, "one", "two")(b"POST", b"/predict", fields) is not None) == refused


def test_a_refusal_is_counted() -> None:
    metrics = Metrics()
    refuse = refusal(metrics=metrics)
    for _ in range(3):
        refuse(b"POST", b"/predict", [])
    text = metrics.render().decode()
    assert 'mobilenet_rejected_total{reason="queue_full"} 3.0' in text
    assert 'mobilenet_requests_total{route="/predict",status="429"} 3.0' in text
