"""What is known of each request: its id, its times, its line in the log; headers on every answer."""

import logging
import random
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.observability.metrics import Metrics
from app.prediction.result import Classification

if TYPE_CHECKING:
    from app.observability.spans import RequestSpan, Spans

logger = logging.getLogger("app.access")

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


def trace(scope: Scope) -> Trace:
    """Return the trace of the request of this scope."""
    found: Trace = scope["state"]["trace"]
    return found


class Tracing:
    """ASGI middleware that makes the trace, puts its headers on the answer, counts it and logs it."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, traced."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        current = state["trace"] = begin(Headers(scope=scope), state.get(SPANS))
        self._metrics.begun()
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
            # The route's template and not the path: a million wrong paths are one series, not a million.
            route = getattr(scope.get("route"), "path", "other")
            finish(self._metrics, current, status, method=scope["method"], path=scope["path"], route=route)
            self._metrics.ended()


def begin(headers: Mapping[str, str], spans: "Spans | None") -> Trace:
    """Return the trace of a request that has these headers, their names in lower case."""
    span = None if spans is None else spans.begin(headers)
    return Trace(request_id(headers.get("x-request-id", "")), span=span)


def request_id(given: str) -> str:
    """Return the id that a caller gave if it is sane, else a new one."""
    return given if given and SANE_ID.fullmatch(given) else f"{random.getrandbits(128):032x}"


def finish(metrics: Metrics, current: Trace, status: int, *, method: str, path: str, route: str) -> None:
    """Count a request that was answered, write its line, and end its span."""
    variant = str(current.facts.get("variant", ""))
    metrics.request(route, status)
    if wanted := current.facts.get("degraded_from"):
        metrics.degraded(str(wanted), variant)
    if status in REFUSALS:
        metrics.rejected(str(current.facts.get("code", "other")))
    else:
        metrics.took(route, current.total_ms / 1000, variant)
    _log(current, status, method, path)
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


def _log(current: Trace, status: int, method: str, path: str) -> None:
    if logger.isEnabledFor(logging.INFO):
        stages = {f"{name}_ms": round(duration, 3) for name, duration in current.stages.items()}
        facts = {"status": status, "total_ms": round(current.total_ms, 3)} | stages | current.facts
        if current.span is not None:
            facts["trace_id"] = current.span.trace_id
        # repr: a path may hold line breaks, and a log line is one line.
        logger.info("%s %r", method, path, extra={"facts": facts | {"request_id": current.request_id}})
