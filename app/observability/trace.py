"""What is known of each request: its id, its times, its line in the log; headers on every answer."""

import random
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.observability.access import AccessLog
from app.observability.metrics import Metrics
from app.prediction.result import Classification

if TYPE_CHECKING:
    from app.observability.spans import RequestSpan, Spans

REFUSALS = (401, 413, 415, 429, 503)
"""Statuses of requests that were refused and not tried."""

SPANS = "spans"
"""The name in the state of the application of what makes spans, if anything does."""

SANE_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")


@dataclass(slots=True)
class Trace:
    """One request under way. `stages` are milliseconds by name, `facts` what else its log line says.

    `images` are what it got of the model, `span` is OpenTelemetry's where there are spans.
    """

    request_id: str
    started: float = field(default_factory=time.monotonic)
    stages: dict[str, float] = field(default_factory=dict)
    facts: dict[str, object] = field(default_factory=dict)
    images: Sequence[Classification] = ()
    span: "RequestSpan | None" = None

    @property
    def total_ms(self) -> float:
        """Milliseconds since the request's headers were read."""
        return (time.monotonic() - self.started) * 1000

    @property
    def headers(self) -> dict[str, str]:
        """`X-Request-ID`, `Server-Timing` with each stage and the total in milliseconds, and `traceparent` if any."""
        stages = self.stages | {"total": self.total_ms}
        timing = ", ".join([f"{name};dur={duration:.3f}" for name, duration in stages.items()])
        named = {"X-Request-ID": self.request_id, "Server-Timing": timing}
        return named if self.span is None else named | {"traceparent": self.span.traceparent}

    def line(self, status: int) -> dict[str, object]:
        """Return what the line in the log says of the request, by name."""
        stages = {f"{name}_ms": round(duration, 3) for name, duration in self.stages.items()}
        facts = {"status": status, "total_ms": round(self.total_ms, 3)} | stages | self.facts
        if self.span is not None:
            facts["trace_id"] = self.span.trace_id
        return facts | {"request_id": self.request_id}


def trace(scope: Scope) -> Trace:
    """Return the trace of the request of this scope."""
    found: Trace = scope["state"]["trace"]
    return found


class Requests:
    """The requests of an application: each is counted, has a line in the log, and a span where there are spans."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._log = AccessLog()

    def begin(self, headers: Mapping[str, str], spans: "Spans | None") -> Trace:
        """Begin the trace of a request that has these headers, their names in lower case."""
        self._metrics.begun()
        span = None if spans is None else spans.begin(headers)
        return Trace(_request_id(headers.get("x-request-id", "")), span=span)

    def end(self, current: Trace, status: int, *, method: str, path: str, route: str) -> None:
        """Count a request that was answered, write its line, and end its span; `route` is the template of its path."""
        self._metrics.ended()
        variant = str(current.facts.get("variant", ""))
        self._count(current, status, route, variant)
        self._log.write(method, path, status, current.line)
        if current.span is not None:
            said = {
                "http.request.method": method,
                "http.response.status_code": status,
                "http.route": route,
                "url.path": path,
                "mobilenet.request_id": current.request_id,
                "mobilenet.variant": variant,
            }
            current.span.end(said, current.images)

    def _count(self, current: Trace, status: int, route: str, variant: str) -> None:
        self._metrics.request(route, status)
        if wanted := current.facts.get("degraded_from"):
            self._metrics.degraded(str(wanted), variant)
        if status in REFUSALS:
            self._metrics.rejected(str(current.facts.get("code", "other")))
        else:
            self._metrics.took(route, current.total_ms / 1000, variant)


class Tracing:
    """ASGI middleware that makes the trace of a request and puts its headers on the response."""

    def __init__(self, app: ASGIApp, requests: Requests) -> None:
        self._app = app
        self._requests = requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, traced."""
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
    """Return the id that a caller gave if it is sane, else a new one."""
    return given if given and SANE_ID.fullmatch(given) else f"{random.getrandbits(128):032x}"
