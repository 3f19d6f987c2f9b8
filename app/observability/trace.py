"""What is known of a request: its id, its times, what its line in the log says, and headers of its response."""

import random
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.observability.access import REFUSALS, AccessLog, shortened
from app.observability.metrics import Metrics
from app.prediction.result import Classification

if TYPE_CHECKING:
    from app.observability.spans import RequestSpan, Spans

SPANS = "spans"
"""Key in the state of the application; its value makes spans, or is None if none are wanted."""
SANE_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
"""Ids of callers that are taken over; any other might break the log or a header."""


@dataclass(slots=True)
class Trace:
    """A request under way.

    `started` is the time of `time.monotonic` at which its headers had come, `stages` has milliseconds by the names of
    stages, `facts` what else its line in the log says, and `images` what the model answered. `span` is its span in
    OpenTelemetry, if spans are made.
    """

    request_id: str
    started: float = field(default_factory=time.monotonic)
    stages: dict[str, float] = field(default_factory=dict)
    facts: dict[str, object] = field(default_factory=dict)
    images: Sequence[Classification] = ()
    span: "RequestSpan | None" = None

    @property
    def total_ms(self) -> float:
        """Milliseconds since the headers of the request had come."""
        return (time.monotonic() - self.started) * 1000

    @property
    def headers(self) -> dict[str, str]:
        """Headers of the response: `X-Request-ID`, `Server-Timing` in milliseconds, and `traceparent` if any."""
        stages = self.stages | {"total": self.total_ms}
        timing = ", ".join([f"{name};dur={duration:.3f}" for name, duration in stages.items()])
        named = {"X-Request-ID": self.request_id, "Server-Timing": timing}
        return named if self.span is None else named | {"traceparent": self.span.traceparent}

    def line(self, status: int) -> dict[str, object]:
        """Return what the line in the log says of the request and its status: values by name."""
        line: dict[str, object] = {"status": status, "total_ms": round(self.total_ms, 3)}
        for name, duration in self.stages.items():
            line[f"{name}_ms"] = round(duration, 3)
        line |= self.facts
        if self.span is not None:
            line["trace_id"] = self.span.trace_id
        line["request_id"] = self.request_id
        return line


def trace(scope: Scope) -> Trace:
    """Return the trace of the request that an ASGI scope belongs to."""
    found: Trace = scope["state"]["trace"]
    return found


class Requests:
    """The requests of an application: each is counted, and has a line in the log and, if spans are made, a span."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._log = AccessLog()

    def begin(self, headers: Mapping[str, str], spans: "Spans | None") -> Trace:
        """Count a request as under way and return its trace. The names of its headers are in lower case."""
        self._metrics.in_flight.add()
        span = None if spans is None else spans.begin(headers)
        return Trace(_request_id(headers.get("x-request-id", "")), span=span)

    def end(self, current: Trace, status: int, *, method: str, path: str, route: str) -> None:
        """Count a request that was answered, write its line, and end its span. `route` is the template of its path."""
        self._metrics.in_flight.add(-1)
        variant = str(current.facts.get("variant", ""))
        self._count(current, status, route, variant)
        self._log.write(method, path, status, current.line)
        if current.span is not None:
            said = {
                "http.request.method": method,
                "http.response.status_code": status,
                "http.route": route,
                "url.path": shortened(path),
                "mobilenet.request_id": current.request_id,
                "mobilenet.variant": variant,
            }
            current.span.end(said, current.images)

    def _count(self, current: Trace, status: int, route: str, variant: str) -> None:
        self._metrics.requests(route, str(status)).add()
        if wanted := current.facts.get("degraded_from"):
            self._metrics.degraded(str(wanted), variant).add()
        if status in REFUSALS:
            self._metrics.rejected(str(current.facts.get("code", "other"))).add()
        else:
            self._metrics.seconds(route, variant).observe(current.total_ms / 1000)


class Tracing:
    """ASGI middleware that makes the trace of a request and puts its headers on the response."""

    def __init__(self, app: ASGIApp, requests: Requests) -> None:
        self._app = app
        self._requests = requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, with its trace in the scope."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        current = state["trace"] = self._requests.begin(Headers(scope=scope), state.get(SPANS))
        status = 500

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message).update(current.headers)
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        finally:
            # The template of the route and not the path, or a million wrong paths would be a million series.
            route = getattr(scope.get("route"), "path", "other")
            self._requests.end(current, status, method=scope["method"], path=scope["path"], route=route)


def _request_id(given: str) -> str:
    """Return the id that the caller gave, or a new one if there is none or it is not sane."""
    return given if given and SANE_ID.fullmatch(given) else f"{random.getrandbits(128):032x}"
