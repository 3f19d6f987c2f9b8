"""What wrk says is read rightly, and it posts what it is told to."""

import json
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from math import isnan
from unittest.mock import ANY

import pytest

from tests.support import needs
from tools.bench import wrk

SAID = {"requests": 90, "duration_us": 2_000_000, "refused": 10, "errors": 5}
TIMES = {"p50_us": 1500, "p95_us": 2500, "p99_us": 9000}


class Handler(BaseHTTPRequestHandler):
    """Counts bodies, and refuses one of them."""

    protocol_version = "HTTP/1.1"
    seen: Counter[tuple[str, bytes]]

    def do_POST(self) -> None:
        """Answer 429 to what is refused, 200 to all else."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.seen[self.path, body] += 1
        self.send_response(429 if body == b"refused" else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def url() -> Iterator[str]:
    Handler.seen = Counter()
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def test_answers_are_counted_without_those_that_were_refused_or_failed() -> None:
    output = f"Running 2s test\n  99%  9.00ms\n{json.dumps(SAID | TIMES)}\n"
    assert wrk.read(output) == wrk.Load(40, ANY, ANY, ANY, 80 / 95)
    assert wrk.read(json.dumps(SAID | TIMES | {"refused": 0})) == wrk.Load(45, 1.5, 2.5, 9.0, 90 / 95)


def test_there_are_no_latencies_of_answers_where_those_of_refusals_are_among_them() -> None:
    load = wrk.read(json.dumps(SAID | TIMES))
    assert all(map(isnan, (load.p50_ms, load.p95_ms, load.p99_ms)))


def test_without_an_answer_there_is_no_latency() -> None:
    silent = {"requests": 0, "duration_us": 1_000_000, "refused": 0, "errors": 0}
    load = wrk.read(json.dumps(silent | dict.fromkeys(TIMES, 0)))
    assert (load.requests_per_s, load.success) == (0, 0)
    assert isnan(load.p50_ms)
    assert isnan(load.p99_ms)


@needs.WRK.mark()
def test_the_bodies_are_posted_in_turn(url: str) -> None:
    bodies = [b"\x00\xff one", b"two\r\n", b"refused"]
    load = wrk.closed_loop(url, bodies, connections=2, seconds=1)
    assert {path for path, _ in Handler.seen} == {"/predict"}
    counts = [Handler.seen["/predict", body] for body in bodies]
    assert max(counts) - min(counts) <= 2
    assert load.success == pytest.approx(2 / 3, abs=0.05)
    assert wrk.closed_loop(url, bodies[:2], connections=2, seconds=1).p50_ms > 0
