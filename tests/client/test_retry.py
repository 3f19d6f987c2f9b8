"""When a call is sent again, and how long it waits: without a network and without waiting."""

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest
from pydantic import TypeAdapter

from app.api.problems import problem
from app.client.retry import Attempt, exchange, retry_after_s
from app.errors import Draining, QueueFull, ServiceError, Unauthorized, UnexpectedAnswer, Unreachable

REQUEST = httpx.Request("POST", "http://service/predict")
NUMBER = TypeAdapter(int).validate_json
DONE = httpx.Response(200, text="7", request=REQUEST)
NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)


def refused(error: ServiceError, **headers: str) -> httpx.Response:
    content = json.dumps(problem(error, "id"))
    return httpx.Response(
        error.status, text=content, headers={k.replace("_", "-"): v for k, v in headers.items()}, request=REQUEST
    )


FULL = refused(QueueFull("full", facts={"queue_depth": 9, "estimated_wait_ms": 1500}), Retry_After="2")


def play(*outcomes: Attempt, patience_s: float = 10.0) -> tuple[int, list[float]]:
    """Let these come of the requests, in order; return the answer and the pauses before each request."""
    steps = exchange(REQUEST, NUMBER, patience_s)
    pauses = [next(steps)[0]]
    for outcome in outcomes:
        try:
            pauses.append(steps.send(outcome)[0])
        except StopIteration as done:
            return done.value, pauses
    pytest.fail("asked again")


def test_an_answer_is_returned_at_once() -> None:
    assert play(DONE) == (7, [0.0])


@pytest.mark.parametrize(
    "outcome",
    [
        FULL,
        refused(Draining("stopping"), Retry_After="2"),
        httpx.Response(502, text="<html>", headers={"Retry-After": "2"}, request=REQUEST),
    ],
)
def test_what_was_refused_is_sent_again_no_sooner_than_the_service_says(outcome: Attempt) -> None:
    answer, (_, pause_s) = play(outcome, DONE)
    assert answer == 7
    assert 2 < pause_s < 3


def test_those_that_were_refused_together_do_not_return_together() -> None:
    assert len({play(FULL, DONE)[1][1] for _ in range(10)}) > 1


@pytest.mark.parametrize(
    "broken", [httpx.ConnectError("refused"), httpx.ReadError("reset"), httpx.RemoteProtocolError("closed")]
)
def test_a_lost_connection_is_tried_again_and_less_and_less_often(broken: httpx.RequestError) -> None:
    answer, pauses = play(*[broken] * 6, DONE, patience_s=60)
    assert answer == 7
    assert all(0 < one < 2 for one in pauses[1:4])
    assert pauses[6] > 3 * pauses[1]


def test_no_pause_of_its_own_is_longer_than_five_seconds() -> None:
    _, pauses = play(*[httpx.ConnectError("refused")] * 20, DONE, patience_s=1000)
    assert 2.5 <= min(pauses[10:]) <= max(pauses) <= 5


def test_patience_ends_before_a_pause_that_is_too_long() -> None:
    with pytest.raises(QueueFull, match="full") as caught:
        play(FULL, FULL, FULL, patience_s=5)
    assert caught.value.facts == {"queue_depth": 9, "estimated_wait_ms": 1500}
    with pytest.raises(Draining):
        play(refused(Draining("stopping"), Retry_After="9" * 400))
    with pytest.raises(Unreachable):
        play(httpx.ConnectError("refused", request=REQUEST), patience_s=0)


@pytest.mark.parametrize("status", [400, 401, 404, 413, 415, 422, 500, 504])
def test_what_would_fail_again_is_not_sent_again(status: int) -> None:
    with pytest.raises(UnexpectedAnswer):
        play(httpx.Response(status, headers={"Retry-After": "0"}, request=REQUEST))


def test_what_took_too_long_is_not_sent_again() -> None:
    with pytest.raises(Unreachable, match="no answer from http://service/predict: timed out"):
        play(httpx.ReadTimeout("timed out", request=REQUEST))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("0", 0),
        ("7", 7),
        ("Wed, 25 Nov 2026 12:00:30 GMT", 30),
        ("Wed, 25 Nov 2026 11:00:00 GMT", 0),  # past
        ("Wednesday, 25-Nov-26 12:00:30 GMT", 30),  # the obsolete form, which has to be understood
        ("Wed Nov 25 12:00:30 2026", 30),  # the other obsolete form, which names no zone: it is in UTC
        ("Wed, 25 Nov 2026 12:00:30 -0000", 30),  # no zone
        ("Wed, 25 Nov 2026 12:00:30 +99999999999999", 0),
        ("Wed, 25 Nov 99999999999999999999 12:00:30 GMT", 0),
        ("-1", 0),
        ("1.5", 0),
        ("soon", 0),
        ("", 0),
    ],
)
def test_retry_after_is_seconds_or_a_date_by_the_clock_of_the_service(value: str, expected: float) -> None:
    headers = {"Retry-After": value, "Date": format_datetime(NOW, usegmt=True)}
    assert retry_after_s(httpx.Response(503, headers=headers)) == expected


@pytest.mark.parametrize("broken", ["", "now", "Wed, 25 Nov 2026 12:00:00 +99999999999999"])
def test_without_a_date_of_the_service_its_own_clock_counts(broken: str) -> None:
    soon = format_datetime(datetime.now(UTC) + timedelta(minutes=1), usegmt=True)
    assert 50 < retry_after_s(httpx.Response(503, headers={"Retry-After": soon})) <= 60
    assert 50 < retry_after_s(httpx.Response(503, headers={"Retry-After": soon, "Date": broken})) <= 60
    assert retry_after_s(httpx.Response(503)) == 0


@pytest.mark.parametrize("text", ["", "<html>", "{}", '"seven"'])
def test_an_answer_of_another_shape_says_who_gave_it(text: str) -> None:
    with pytest.raises(
        UnexpectedAnswer, match="http://service/predict answered 200 OK, which is not an answer of this service"
    ):
        play(httpx.Response(200, text=text, request=REQUEST))


def test_an_address_that_leads_elsewhere_says_where() -> None:
    response = httpx.Response(308, headers={"Location": "https://service/predict"}, request=REQUEST)
    with pytest.raises(UnexpectedAnswer, match="which leads to https://service/predict") as caught:
        play(response)
    assert caught.value.status == 308


def test_a_code_that_is_not_known_yet_keeps_its_words() -> None:
    body = problem(QueueFull("why"), "id") | {"code": "newer", "status": 418}
    with pytest.raises(UnexpectedAnswer, match="418 newer: why") as caught:
        play(httpx.Response(418, text=json.dumps(body), request=REQUEST))
    assert caught.value.status == 418


@pytest.mark.parametrize(
    ("outcome", "advice"),
    [
        (refused(Unauthorized("a key is needed")), "as api_key"),
        (FULL, "for up to 0 s. With a larger patience_s"),
        (refused(Draining("stopping")), "for up to 0 s. With a larger patience_s"),
        (httpx.ReadTimeout("timed out", request=REQUEST), "a larger timeout_s waits longer"),
    ],
)
def test_what_a_program_can_do_about_an_error_is_below_its_traceback(outcome: Attempt, advice: str) -> None:
    with pytest.raises((ServiceError, Unreachable)) as caught:
        play(outcome, patience_s=0)
    (note,) = caught.value.__notes__
    assert advice in note


@pytest.mark.parametrize("kind", [httpx.ConnectError, httpx.ConnectTimeout])
def test_an_address_where_nobody_listens_is_asked_about(kind: type[httpx.RequestError]) -> None:
    with pytest.raises(
        Unreachable, match=r"^no answer from http://service/predict: gone; is the service running at http://service\?"
    ):
        play(kind("gone", request=REQUEST), patience_s=0)


def test_a_proxy_that_cannot_be_reached_is_named_and_not_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://proxy:1")
    with pytest.raises(Unreachable, match=r"; is the proxy running that HTTP_PROXY=http://proxy:1 names\? ") as caught:
        play(httpx.ConnectError("gone", request=REQUEST), patience_s=0)
    assert "is the service running" not in str(caught.value)


def test_a_request_that_the_client_itself_got_wrong_is_no_service_that_is_gone() -> None:
    with pytest.raises(httpx.LocalProtocolError, match="Illegal header value"):
        play(httpx.LocalProtocolError("Illegal header value b'7\\n'", request=REQUEST))


def test_a_password_in_the_address_is_not_shown() -> None:
    request = httpx.Request("POST", "http://user:s3cret@service/predict")
    with pytest.raises(Unreachable, match=r"^no answer from http://\*\*\*@service/predict: gone") as unreachable:
        play(httpx.ConnectError("gone", request=request), patience_s=0)
    redirected = httpx.Response(308, headers={"Location": "https://user:s3cret@service/predict"}, request=request)
    with pytest.raises(UnexpectedAnswer, match=r"which leads to https://\*\*\*@service/predict,") as unexpected:
        play(redirected)
    assert "s3cret" not in f"{unreachable.value} {unexpected.value}"
