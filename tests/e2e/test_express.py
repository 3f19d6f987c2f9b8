"""A prediction takes a shorter way through the real process, and nobody can tell by its answer."""

import base64
import json
import re
import socket
import threading
import time
from typing import Any

import httpx
import pytest

from app.schemas import PredictResponse
from tests.e2e.conftest import Process, Serve, half_sent
from tests.support.client import check_problem
from tests.support.data import solid

pytestmark = [pytest.mark.e2e, pytest.mark.tensorflow]

PNG = {"Content-Type": "image/png"}
RED, BLUE = solid((220, 30, 30)), solid((30, 40, 210))
LONG_WAY = {"unknown": ""}
"""A parameter that the short way leaves to the application, which does not mind it."""
OWN = {"request_id", "timing", "probability", "batch_size", "expected_ms", "inference_ms"}


def same(value: Any) -> Any:
    """Return an answer without what differs between two of the same."""
    if isinstance(value, dict):
        return {name: same(item) for name, item in value.items() if name not in OWN}
    return [same(item) for item in value] if isinstance(value, list) else value


def kinds(headers: httpx.Headers) -> dict[str, str]:
    """Return headers, of those that differ between two answers the names alone, and times without their figures."""
    own = {"date", "x-request-id", "content-length"}
    return {name: "" if name in own else re.sub(r"[\d.]+", "0", value) for name, value in headers.items()}


def multipart(*images: bytes, field: str = "image") -> dict[str, Any]:
    return {"files": [(field, ("a.png", image, "image/png")) for image in images]}


def in_json(*images: bytes) -> dict[str, Any]:
    return {"json": {"images": [base64.b64encode(image).decode() for image in images]}}


REQUESTS: dict[str, tuple[dict[str, Any], int]] = {
    "photo": ({"content": RED, "headers": PNG}, 200),
    "truncated": ({"content": RED[:60], "headers": PNG}, 422),
    "html": ({"content": b"<html>", "headers": PNG}, 415),
    "damaged": ({"content": b"GIF89a", "headers": PNG}, 422),
    "one in multipart": (multipart(RED), 200),
    "three in multipart, one broken": (multipart(RED, b"<html>", BLUE), 200),
    "too many in multipart": (multipart(*[RED] * 33), 413),
    "none in multipart": (multipart(RED, field="photo"), 400),
    "no multipart": ({"content": b"x", "headers": {"Content-Type": "multipart/form-data; boundary=y"}}, 400),
    "no boundary": ({"content": b"x", "headers": {"Content-Type": "multipart/form-data"}}, 400),
    "one in JSON": (in_json(RED), 200),
    "three in JSON, one broken": (in_json(RED, b"GIF89a", BLUE), 200),
    "too many in JSON": (in_json(*[RED] * 33), 413),
    "none in JSON": (in_json(), 422),
    "no JSON": ({"content": b"{", "headers": {"Content-Type": "application/json"}}, 400),
    "no base64": ({"json": {"images": ["?"]}}, 422),
    "unknown form": ({"content": RED, "headers": {"Content-Type": "text/plain"}}, 415),
    "empty": ({"content": b"", "headers": PNG}, 400),
}


def wish(**params: Any) -> dict[str, Any]:
    return multipart(RED, BLUE) | {"params": params}


def within(milliseconds: str) -> dict[str, Any]:
    return {"content": RED, "headers": PNG | {"X-Request-Timeout-Ms": milliseconds}}


WISHES: dict[str, tuple[dict[str, Any], int]] = {
    "two classes": (wish(top_k=2), 200),
    "a thousand classes": (wish(top_k=1000), 422),
    "a variant": (wish(alpha=0.25, resolution=128), 200),
    "no variant": (wish(alpha=0.3), 422),
    "another variant": (wish(alpha=0.75, resolution=224), 404),
    "few MACs": (wish(max_macs=20_000_000), 200),
    "too few MACs": (wish(max_macs=1), 422),
    "soon": (wish(max_latency_ms=5000), 200),
    "right": (wish(min_accuracy=0.9), 200),
    "all": (wish(variants="all", top_k=3), 200),
    "one of all": (wish(variants="0.25/128"), 200),
    "a cascade": (wish(cascade="0.25/128,0.5/160", threshold=1), 200),
    "a threshold alone": (wish(threshold=0.5), 422),
    "degraded": (wish(degrade="allow"), 200),
    "within a while": (within("9000"), 200),
    "never": (within("0"), 422),
    "without end": (within("999999"), 422),
}


@pytest.fixture(scope="module")
def lineup(serve: Serve) -> Process:
    """Serve two variants."""
    return serve(PRECISION="int8", VARIANTS="0.25/128")


@pytest.mark.parametrize(("request_", "status"), REQUESTS.values(), ids=REQUESTS)
def test_both_ways_answer_alike(server: Process, request_: dict[str, Any], status: int) -> None:
    check_both_ways(server, request_, status)


@pytest.mark.parametrize(("request_", "status"), WISHES.values(), ids=WISHES)
def test_both_ways_grant_the_same_wishes(lineup: Process, request_: dict[str, Any], status: int) -> None:
    check_both_ways(lineup, request_, status)


def check_both_ways(server: Process, request_: dict[str, Any], status: int) -> None:
    with httpx.Client(base_url=server.url) as client:
        short = client.post("/predict", **request_)
        long = client.post("/predict", **request_ | {"params": request_.get("params", {}) | LONG_WAY})
    assert (short.status_code, long.status_code) == (status, status), short.text
    assert same(short.json()) == same(long.json())
    assert kinds(short.headers) == kinds(long.headers)
    assert short.json()["request_id"] == short.headers["x-request-id"]
    if status == 200:
        PredictResponse.model_validate_json(short.content, strict=True)
        best = [
            [result["predictions"][0]["probability"] for result in answer.json()["results"] if "predictions" in result]
            for answer in (short, long)
        ]
        assert best[0] == pytest.approx(best[1], abs=1e-6)


def test_a_given_id_is_taken_if_it_is_sane(server: Process) -> None:
    for given, taken in (("mine-1", True), ("a b", False)):
        answer = httpx.post(f"{server.url}/predict", content=RED, headers=PNG | {"X-Request-ID": given})
        assert (answer.json()["request_id"] == given) == taken


def receive(connection: socket.socket, answers: int) -> list[Any]:
    """Read so many answers; return their bodies."""
    file, bodies = connection.makefile("rb"), []
    for _ in range(answers):
        assert file.readline().startswith(b"HTTP/1.1 200")
        head = dict(line.lower().split(b": ", 1) for line in iter(lambda: file.readline().strip(), b""))
        bodies.append(json.loads(file.read(int(head[b"content-length"]))))
    return bodies


def test_requests_on_one_connection_are_answered_in_order_whichever_way_they_go(server: Process) -> None:
    head = "POST {} HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: {}\r\nX-Request-ID: {}\r\n\r\n"
    targets = ["/predict", "/predict?unknown=", "/predict", "/predict", "/predict?unknown=", "/predict?top_k=1"]
    requests = b"".join(
        head.format(target, len(RED), f"r{number}").encode() + RED for number, target in enumerate(targets)
    )
    with socket.create_connection(server.url.removeprefix("http://").split(":"), 20) as connection:  # type: ignore[arg-type]
        connection.sendall(requests)
        bodies = receive(connection, len(targets))
    assert [body["request_id"] for body in bodies] == [f"r{number}" for number in range(len(targets))]


def test_a_body_in_many_pieces_is_the_same_photo(server: Process) -> None:
    noise = solid((90, 120, 60), size=(1500, 1500))
    with socket.create_connection(server.url.removeprefix("http://").split(":"), 20) as connection:  # type: ignore[arg-type]
        connection.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(noise))
        for at in range(0, len(noise), 997):
            connection.sendall(noise[at : at + 997])
        (body,) = receive(connection, 1)
    whole = httpx.post(f"{server.url}/predict", content=noise, headers=PNG).json()
    assert same(body) == same(whole)


def test_a_body_that_does_not_come_is_given_up(serve: Serve, own: dict[str, object]) -> None:
    process = serve(**own, REQUEST_TIMEOUT_MS=300)
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"
    with socket.create_connection(process.url.removeprefix("http://").split(":"), 20) as connection:  # type: ignore[arg-type]
        connection.sendall(head + b"x" * 100)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))  # the connection ends, for the rest never came
    assert answer.startswith(b"HTTP/1.1 504 ")
    problem = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert (problem["code"], problem["detail"]) == (
        "deadline_exceeded",
        "the body did not arrive within the time of the request, at most 300 ms",
    )
    with half_sent(process.url, RED) as connection:
        connection.settimeout(20)
        connection.sendall(RED[50:])
        receive(connection, 1)
        time.sleep(0.6)  # what came in time is not given up later
        connection.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(RED) + RED)
        receive(connection, 1)


def test_a_body_is_given_up_at_the_deadline_of_its_own_request(server: Process) -> None:
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\nX-Request-Timeout-Ms: 200\r\n\r\n"
    with socket.create_connection(server.url.removeprefix("http://").split(":"), 8) as connection:  # type: ignore[arg-type]
        connection.sendall(head + b"x" * 100)  # the setting would have it wait for 10 s, longer than this test does
        assert connection.recv(65536).startswith(b"HTTP/1.1 504 ")


def test_what_was_accepted_is_answered_when_the_service_stops(serve: Serve, own: dict[str, object]) -> None:
    process = serve(**own)
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(RED)
    with socket.create_connection(process.url.removeprefix("http://").split(":"), 20) as connection:  # type: ignore[arg-type]
        connection.sendall(head + RED[:20])
        httpx.post(f"{process.url}/predict", content=RED, headers=PNG)  # the first is under way by now
        stopper = threading.Thread(target=process.stop)
        stopper.start()
        while "stopping" not in _ready(process):
            pass
        connection.sendall(RED[20:])
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
        stopper.join()
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.split()[1] in {b"200", b"503"}
    assert b"connection: close" in head.lower()
    assert json.loads(body)


def _ready(process: Process) -> str:
    try:
        return httpx.get(f"{process.url}/readyz").text
    except httpx.TransportError:
        return "stopping"


def test_both_ways_are_counted_and_logged_alike(serve: Serve, own: dict[str, object]) -> None:
    process = serve(**own, LOG_FORMAT="json")
    for params in ({}, LONG_WAY):
        for body in (RED, RED, b"<html>"):
            httpx.post(f"{process.url}/predict", content=body, headers=PNG, params=params)
    text = httpx.get(f"{process.url}/metrics").text
    assert 'mobilenet_requests_total{route="/predict",status="200"} 4.0' in text
    assert 'mobilenet_requests_total{route="/predict",status="415"} 2.0' in text
    assert 'mobilenet_rejected_total{reason="unsupported_image"} 2.0' in text
    lines = [json.loads(line) for line in process.log.read_text().splitlines() if line.startswith("{")]
    lines = [line for line in lines if "/predict" in line["message"]]
    assert [line["status"] for line in lines] == [200, 200, 415] * 2
    assert [set(line) for line in lines[:3]] == [set(line) for line in lines[3:]]


def test_a_problem_of_the_short_way_is_one_problem(server: Process) -> None:
    answer = httpx.post(f"{server.url}/predict", content=b"<html>", headers=PNG)
    assert "HTML" in check_problem(answer, 415, "unsupported_image")
