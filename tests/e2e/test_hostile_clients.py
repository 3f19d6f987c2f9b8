"""Slow and wrong clients, on raw connections to the real process: answered or cut off, and nobody else notices."""

import base64
import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import pytest

from tests.support.data import RED
from tests.support.processes import Process, Serve

pytestmark = pytest.mark.tensorflow

MAX_BODY = 1_000_000
DECODERS = 2
HEAD = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\n"


@pytest.fixture(scope="module")
def process(serve: Serve, own: dict[str, object]) -> Iterator[Process]:
    """A service of small limits that at the end of all this is well and stops as it should."""
    process = serve(**own, MAX_BODY_BYTES=MAX_BODY, REQUEST_TIMEOUT_MS=2000, MODEL_WORKERS=DECODERS)
    threads = process.status("Threads")
    yield process
    with httpx.Client(base_url=process.url) as client:
        assert client.post("/predict", content=RED).status_code == 200
        assert "mobilenet_queue_images 0.0" in client.get("/metrics").text
    assert process.status("Threads") <= threads + DECODERS + 1, "workers start when they are needed"
    assert process.stop() == 0


@contextmanager
def connection(process: Process) -> Iterator[socket.socket]:
    host, port = process.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=15) as opened:
        yield opened


def read(opened: socket.socket) -> tuple[int, bytes]:
    """Read until the service closes the connection or an answer is whole; status 0 if there was none."""
    data = b""
    while True:
        head, gap, body = data.partition(b"\r\n\r\n")
        lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        if gap and lengths and len(body) >= int(lengths[0].split(b":")[1]):
            return int(data.split(b" ")[1]), body
        try:
            chunk = opened.recv(65536)
        except ConnectionResetError:
            chunk = b""
        if not chunk:
            return (int(data.split(b" ")[1]) if data else 0), body
        data += chunk


def closed(opened: socket.socket) -> bool:
    try:
        return opened.recv(65536) == b""
    except ConnectionResetError:
        return True


@pytest.mark.parametrize("part", [b"", b"POST /pre", HEAD, b"\r\n", HEAD + b"X-A: " + b"a" * 1000])
def test_headers_that_never_end_end_the_connection_however_slowly_they_come(process: Process, part: bytes) -> None:
    with connection(process) as opened:
        opened.sendall(part)
        started = time.monotonic()
        opened.settimeout(1)
        while time.monotonic() - started < 12:
            try:
                if opened.recv(1) == b"":
                    return
            except TimeoutError:
                try:
                    opened.sendall(b"\r\n" if part == b"\r\n" else b"X" if part else b"")
                except (ConnectionResetError, BrokenPipeError):
                    return
            except ConnectionResetError:
                return
    pytest.fail("still open")


def test_a_second_request_of_a_connection_may_not_dawdle_either(process: Process) -> None:
    with connection(process) as opened:
        opened.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(RED) + RED)
        assert read(opened)[0] == 200
        opened.sendall(b"GET /labels HT")
        assert closed(opened)


def test_headers_without_an_end_in_size_are_refused(process: Process) -> None:
    with connection(process) as opened:
        status = 0
        try:
            for _ in range(200):
                opened.sendall(b"X-Filler: " + b"a" * 1000 + b"\r\n" if _ else HEAD)
        except (ConnectionResetError, BrokenPipeError):
            return
        status, body = read(opened)
    assert status == 400
    assert json.loads(body)["code"] == "malformed_request"


def test_a_body_that_dawdles_ends_at_the_deadline(process: Process) -> None:
    with connection(process) as opened:
        opened.sendall(HEAD + b"Content-Length: 1000\r\n\r\n" + RED[:10])
        status, body = read(opened)
        assert (status, json.loads(body)["code"]) == (504, "deadline_exceeded")
        assert closed(opened), "the rest of the body is not waited for"


def test_a_body_shorter_than_announced_costs_nothing(process: Process) -> None:
    with connection(process) as opened:
        opened.sendall(HEAD + b"Content-Length: 1000\r\n\r\n" + RED[:10])
        opened.shutdown(socket.SHUT_WR)
        assert read(opened)[0] in {0, 504}


def test_a_body_longer_than_announced_is_answered_and_what_follows_is_refused_and_ends_the_connection(
    process: Process,
) -> None:
    with connection(process) as opened:
        opened.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(RED) + RED + b"and more of it\r\n\r\n")
        _, *answers = b"".join(iter(lambda: opened.recv(65536), b"")).split(b"HTTP/1.1 ")
    assert [int(answer[:3]) for answer in answers] == [200, 400]
    assert json.loads(answers[1].partition(b"\r\n\r\n")[2])["code"] == "malformed_request"


@pytest.mark.parametrize(
    "nonsense",
    [b"nonsense\r\n\r\n", b"\x16\x03\x01\x02\x00\x01", b"GET / HTTP/9.9\r\n\r\n", HEAD + b"Content-Length: x\r\n\r\n"],
)
def test_what_is_no_http_is_a_problem_like_any_other(process: Process, nonsense: bytes) -> None:
    with connection(process) as opened:
        opened.sendall(nonsense)
        status, body = read(opened)
        problem = json.loads(body)
        assert (status, problem["status"], problem["code"]) == (400, 400, "malformed_request")
        assert set(problem) == {"type", "title", "status", "detail", "code", "request_id"}
        assert closed(opened)


def test_a_chunked_body_over_the_limit_is_cut_at_the_limit(process: Process) -> None:
    with connection(process) as opened:
        opened.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
        sent = 0
        opened.settimeout(0.001)
        answer = b""
        started = time.monotonic()
        while time.monotonic() - started < 10:
            try:
                answer += opened.recv(65536)
                break
            except TimeoutError:
                opened.settimeout(5)
                opened.sendall(chunk)
                opened.settimeout(0.001)
                sent += 0x10000
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert sent < 20 * MAX_BODY, "the answer comes while the client still sends"


def test_an_announced_body_over_the_limit_is_refused_before_it_comes(process: Process) -> None:
    with connection(process) as opened:
        opened.sendall(HEAD + b"Content-Length: 999999999\r\nExpect: 100-continue\r\n\r\n")
        status, body = read(opened)
    assert (status, json.loads(body)["code"]) == (413, "body_too_large")


def multipart(parts: int) -> tuple[str, bytes]:
    part = b'--b\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\nx\r\n'
    return "multipart/form-data; boundary=b", part * parts + b"--b--\r\n"


@pytest.mark.parametrize(
    ("content_type", "body", "status"),
    [
        (*multipart(5000), 413),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="t"\r\n\r\nx\r\n' * 5000,
            400,
        ),
        ("multipart/form-data; boundary=b", b"--b\r\n" + b"X-Y: z\r\n" * 10_000, 400),
        ("multipart/form-data", b"--b--", 400),
        ("multipart/form-data; boundary=b", b"-" * 900_000, 400),
        ("application/json", b"[" * 900_000, 413),
        ("application/json", b"[" * 900, 400),
        ("application/json", b'{"images":' * 50_000, 413),
        ("application/json", b'{"images": ["' + base64.b64encode(bytes(600_000)) + b'"]}', 415),
        ("application/json", b'{"images": ["' + b"=" * 900_000 + b'"]}', 422),
        ("application/json", json.dumps({"images": ["x"] * 100_000}).encode(), 413),
    ],
    ids=lambda value: str(value)[:24],
)
def test_bodies_built_to_hurt_are_refused_and_cost_no_memory(
    process: Process, content_type: str, body: bytes, status: int
) -> None:
    before = process.status("VmHWM")
    for _ in range(5):
        answer = httpx.post(f"{process.url}/predict", content=body, headers={"Content-Type": content_type}, timeout=20)
        assert answer.status_code == status, answer.text
        assert answer.json()["status"] == status
    assert process.status("VmHWM") - before < 60_000, "kB"


INFER = "/v2/models/mobilenet/infer"
JSON = {"Content-Type": "application/json"}
NEST = b"[" * 150 + b"]" * 150
BACKSLASHES = {"Cookie": 'a="' + "\\" * 60_000 + '"'}


def tensor(data: bytes) -> bytes:
    return b'{"inputs": [{"name": "pixels", "datatype": "UINT8", "shape": [1], "data": [%b]}]}' % data


def form(end: bytes) -> tuple[dict[str, str], bytes]:
    content_type, body = multipart(1)
    part = body.removesuffix(b"--b--\r\n").replace(b'"a.png"', b'"a.png"' + end)
    other = part.replace(b'"image"', b'"other"')
    return {"Content-Type": content_type}, part * 32 + other * 16 + b"--b--\r\n"


def longest_wait(process: Process, path: str, headers: dict[str, str], body: bytes, status: int) -> float:
    """Return the longest that a probe waits for its answer while a body is answered."""
    longest = 0.0
    with process.client() as prober, process.client() as client, ThreadPoolExecutor(1) as thread:
        sent = thread.submit(client.post, path, content=body, headers=headers, timeout=60)
        done = False
        while not done:
            done = sent.done()
            began = time.monotonic()
            assert prober.get("/healthz", timeout=60).status_code == 200
            longest = max(longest, time.monotonic() - began)
        assert sent.result().status_code == status, sent.result().text
    return longest


@pytest.mark.parametrize(
    ("path", "headers", "body", "status"),
    [
        (INFER, JSON, tensor(b",".join([NEST] * 3_300)), 413),
        (INFER, JSON, tensor(b",".join([b'{"":' * 150 + b"0" + b"}" * 150] * 1_000)), 413),
        (INFER, JSON | BACKSLASHES, b"{}", 400),
        ("/predict", JSON, b'{"images": [' + b",".join([NEST] * 1_000) + b"]}", 413),
        ("/predict", JSON, b"{" + b",".join(b'"%d": %b' % (name, NEST) for name in range(1_000)) + b"}", 413),
        ("/predict", *form(b";" * 4_000), 400),
        ("/predict", *form(b'; a="' + b";" * 3_900), 400),
    ],
    ids=["lists", "objects", "cookies", "images", "members", "semicolons", "quoted semicolons"],
)
def test_a_body_built_to_hurt_keeps_others_waiting_no_longer_than_an_honest_one(
    process: Process, path: str, headers: dict[str, str], body: bytes, status: int
) -> None:
    pixels = tensor(b",".join([b"[0,0,0]"] * 120_000))  # as many as honest images have, though of another shape
    honest = min(longest_wait(process, INFER, JSON, pixels, 400) for _ in range(3))
    before = process.status("VmHWM")
    assert min(longest_wait(process, path, headers, body, status) for _ in range(3)) < 3 * honest
    assert process.status("VmHWM") - before < 20_000, "kB"


def test_two_hundred_silent_connections_keep_nobody_from_an_answer(process: Process) -> None:
    host, port = process.url.removeprefix("http://").split(":")
    silent = [socket.create_connection((host, int(port))) for _ in range(200)]
    try:
        for opened in silent:
            opened.sendall(HEAD)
        assert httpx.post(f"{process.url}/predict", content=RED).status_code == 200
    finally:
        for opened in silent:
            opened.close()
