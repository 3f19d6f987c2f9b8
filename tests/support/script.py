"""A small real HTTP service that answers what a test wrote down, and remembers who asked what."""

import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from app.api import problems
from app.errors import ServiceError
from app.schemas import CostRef, ModelRef, Prediction, Predictions, PredictResponse, Timing

REQUEST_ID = "6f1c2a0e5d3b4f7f9a8b7c6d5e4f3a2b"


class Answer(NamedTuple):
    """What is answered once; status 0 ends the connection instead."""

    body: str | bytes = ""
    status: int = 200
    headers: Mapping[str, str] = {}
    delay_s: float = 0.0


class Asked(NamedTuple):
    """A request, the port that it came from, and when it came: a time of `time.monotonic`."""

    line: str
    headers: Mapping[str, str]
    body: bytes
    port: int
    came: float


@dataclass
class Script:
    """Answers in order, the last one for ever, and what was asked."""

    answers: list[Answer]
    url: str = ""
    asked: list[Asked] = field(default_factory=list)
    under_way: int = 0
    most_at_once: int = 0
    closing: threading.Event = field(default_factory=threading.Event)


def predicted(*labels: str) -> Answer:
    """Return the answer to as many images, each surely of its label."""
    results = [
        Predictions(predictions=[Prediction(class_id=0, wordnet_id=None, label=label, probability=1)])
        for label in labels
    ]
    body = PredictResponse(
        model=ModelRef(alpha=0.5, resolution=160, weights="none", precision="int8"),
        results=[*results],
        cost=CostRef(macs=1, flops=2, parameters=1),
        timing=Timing(decode_ms=0, queue_ms=0, inference_ms=0, total_ms=0),
        batch_size=len(labels),
        request_id=REQUEST_ID,
    )
    return Answer(body.model_dump_json())


def refused(error: ServiceError, headers: Mapping[str, str] = {}) -> Answer:
    """Return the answer that says this error."""
    return Answer(json.dumps(problems.problem(error, REQUEST_ID)), error.status, headers)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet, or a client waits 40 ms for the second
    script: Script

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        script = self.script
        script.under_way += 1
        script.most_at_once = max(script.most_at_once, script.under_way)
        try:
            self._answer(script)
        finally:
            script.under_way -= 1

    def _answer(self, script: Script) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        script.asked.append(Asked(self.requestline, dict(self.headers), body, self.client_address[1], time.monotonic()))
        answer = script.answers.pop(0) if len(script.answers) > 1 else script.answers[0]
        if not answer.status:
            self.close_connection = True
            return
        script.closing.wait(answer.delay_s)
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        content = answer.body if isinstance(answer.body, bytes) else answer.body.encode()
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_POST = do_GET  # noqa: N815 (their names)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # clients keep their connections

    def handle_error(self, *_: Any) -> None:
        """A client that leaves is no news."""


@contextmanager
def playing(*answers: Answer) -> Iterator[Script]:
    """Serve a script on a free port of this machine."""
    script = Script(list(answers))
    with _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"script": script})) as server:
        script.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield script
        finally:
            script.closing.set()
            server.shutdown()
            thread.join()
