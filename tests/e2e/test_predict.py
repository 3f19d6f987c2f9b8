"""`POST /predict` on the real process: bodies in pieces, late or never there, many on a connection, and bugs."""

import json
import socket
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.client import check_problem
from tests.support.data import PNG, RED, solid
from tests.support.processes import Process, environment, under_uvicorn

pytestmark = pytest.mark.tensorflow

OWN = {"request_id", "timing", "probability", "batch_size", "expected_ms", "inference_ms"}


def same(value: Any) -> Any:
    """Return an answer without what differs between two of the same."""
    if isinstance(value, dict):
        return {name: same(item) for name, item in value.items() if name not in OWN}
    return [same(item) for item in value] if isinstance(value, list) else value


def receive(connection: socket.socket, answers: int) -> list[tuple[int, Any]]:
    """Read so many responses; return their statuses and bodies."""
    file, found = connection.makefile("rb"), []
    for _ in range(answers):
        status = int(file.readline().split()[1])
        head = dict(line.lower().split(b": ", 1) for line in iter(lambda: file.readline().strip(), b""))
        found.append((status, json.loads(file.read(int(head[b"content-length"])))))
    return found


def test_requests_on_one_connection_are_answered_in_order_and_problems_do_not_end_it(server: Process) -> None:
    head = "POST {} HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: {}\r\nX-Request-ID: {}\r\n\r\n"
    targets = ["/predict", "/predict?top_k=2", "/predict?top_k=0", "/predict", "/preview?resolution=1", "/predict"]
    requests = b"".join(
        head.format(target, len(RED), f"r{number}").encode() + RED for number, target in enumerate(targets)
    )
    with socket.create_connection(server.url.removeprefix("http://").split(":"), 20) as connection:  # type: ignore[arg-type]
        connection.sendall(requests)
        answers = receive(connection, len(targets))
    assert [status for status, _ in answers] == [200, 200, 422, 200, 422, 200]
    assert [body["request_id"] for _, body in answers] == [f"r{number}" for number in range(len(targets))]


def test_a_body_in_many_pieces_is_the_same_photo(server: Process) -> None:
    noise = solid((90, 120, 60), size=(1500, 1500))
    with socket.create_connection(server.url.removeprefix("http://").split(":"), 20) as connection:  # type: ignore[arg-type]
        connection.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(noise))
        for at in range(0, len(noise), 997):
            connection.sendall(noise[at : at + 997])
        ((status, body),) = receive(connection, 1)
    assert status == 200
    whole = httpx.post(f"{server.url}/predict", content=noise, headers=PNG).json()
    assert same(body) == same(whole)


def test_a_body_is_given_up_at_the_deadline_of_its_own_request(server: Process) -> None:
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\nX-Request-Timeout-Ms: 200\r\n\r\n"
    with socket.create_connection(server.url.removeprefix("http://").split(":"), 8) as connection:  # type: ignore[arg-type]
        connection.sendall(head + b"x" * 100)  # the setting would have it wait for 10 s, longer than this test does
        assert connection.recv(65536).startswith(b"HTTP/1.1 504 ")


def test_predictions_are_counted(server: Process) -> None:
    counted = (
        'mobilenet_requests_total{route="/predict",status="200"}',
        'mobilenet_requests_total{route="/predict",status="415"}',
        'mobilenet_rejected_total{reason="unsupported_image"}',
    )

    def counts() -> list[float]:
        lines = dict(line.rpartition(" ")[::2] for line in httpx.get(f"{server.url}/metrics").text.splitlines())
        return [float(lines.get(name, 0)) for name in counted]

    ok, unsupported, rejected = counts()
    for body in (RED, RED, b"<html>"):
        httpx.post(f"{server.url}/predict", content=body, headers=PNG)
    assert counts() == [ok + 2, unsupported + 1, rejected + 1]


def test_a_bug_while_the_head_is_read_is_a_500_with_a_traceback_and_the_connection_goes_on(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with (
        log.open("wb") as stderr,
        under_uvicorn("tests.e2e.buggy:app", environment(), stderr=stderr) as (url, _),
        httpx.Client(base_url=url) as client,
    ):
        bug = client.post("/predict", params={"max_macs": 10**6}, content=RED, headers=PNG)
        assert "reason that is ours" in check_problem(bug, 500, "internal_error")
        assert client.post("/predict", content=RED, headers=PNG).status_code == 200
        assert 'mobilenet_requests_total{route="/predict",status="500"} 1.0' in client.get("/metrics").text
    assert log.read_text().count("KeyError: 'a bug among the candidates'") == 1
