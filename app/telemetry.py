"""What is known of each request: its id, its times, its line in the log; headers on every answer."""

import logging
import random
import re
import time
from dataclasses import dataclass, field

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.metrics import Metrics

logger = logging.getLogger("app.access")

REFUSALS = (401, 413, 415, 429, 503)
"""Statuses of requests that were refused and not tried."""

SANE_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")


@dataclass(slots=True)
class Trace:
    """One request under way. `stages` are milliseconds by name, `facts` what else its log line says."""

    request_id: str
    started: float = field(default_factory=time.monotonic)
    stages: dict[str, float] = field(default_factory=dict)
    facts: dict[str, object] = field(default_factory=dict)

    @property
    def total_ms(self) -> float:
        """Milliseconds since the request's headers were read."""
        return (time.monotonic() - self.started) * 1000

    @property
    def headers(self) -> dict[str, str]:
        """`X-Request-ID`, and `Server-Timing` with each stage and the total in milliseconds."""
        stages = self.stages | {"total": self.total_ms}
        timing = ", ".join(f"{name};dur={duration:.3f}" for name, duration in stages.items())
        return {"X-Request-ID": self.request_id, "Server-Timing": timing}


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
        current = Trace(request_id(Headers(scope=scope).get("x-request-id", "")))
        scope.setdefault("state", {})["trace"] = current
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


def request_id(given: str) -> str:
    """Return the id that a caller gave if it is sane, else a new one."""
    return given if SANE_ID.fullmatch(given) else f"{random.getrandbits(128):032x}"


def finish(metrics: Metrics, current: Trace, status: int, *, method: str, path: str, route: str) -> None:
    """Count a request that was answered, and write its line."""
    metrics.request(route, status)
    if status in REFUSALS:
        metrics.rejected(str(current.facts.get("code", "other")))
    if logger.isEnabledFor(logging.INFO):
        stages = {f"{name}_ms": round(duration, 3) for name, duration in current.stages.items()}
        facts = {"status": status, "total_ms": round(current.total_ms, 3)} | stages | current.facts
        # repr: a path may hold line breaks, and a log line is one line.
        logger.info("%s %r", method, path, extra={"facts": facts | {"request_id": current.request_id}})
