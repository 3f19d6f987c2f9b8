"""The standard health service of gRPC, by which Kubernetes and load balancers ask."""

import asyncio
from collections.abc import Callable

import grpc
from grpc_health.v1 import health_pb2_grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from app.oip.grpc.room import Context

LOOK_S = 0.5
"""How often the state is looked at while anybody watches it."""


class Health(health_pb2_grpc.HealthServicer):
    """Says whether the service is ready, as `/readyz` does: when it is asked, or whenever that changes."""

    def __init__(self, ready: Callable[[], bool], most_watchers: int, *services: str) -> None:
        """Let at most so many calls watch the state, as they take the places of other calls and have no deadline.

        `services` are the names that are known, beside the empty one for all of the server.
        """
        self._is_ready = ready
        self._most_watchers = most_watchers
        self._services = ("", *services)
        self._watchers = 0
        self._timer: asyncio.TimerHandle | None = None
        self._ready = self._stopping = False
        self._change = asyncio.Event()  # the next one

    async def Check(self, request: HealthCheckRequest, context: Context) -> HealthCheckResponse:  # noqa: N802
        """Answer once."""
        if request.service not in self._services:
            known = " and ".join(map(repr, self._services))
            await context.abort(grpc.StatusCode.NOT_FOUND, f"there is no service {request.service[:80]!r}; {known} are")
        self._look()
        return HealthCheckResponse(status=self._status(request.service))

    async def Watch(self, request: HealthCheckRequest, context: Context) -> None:  # noqa: N802
        """Answer now and whenever the state changes, until the server stops."""
        if self._watchers >= self._most_watchers:
            detail = f"{self._watchers} calls watch the state, the most that may; ask with Check instead"
            # After this status clients use the connection without watching it; after any other they would not use it.
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, detail)
        self._watchers += 1
        try:
            self._look_on()
            await self._tell(request.service, context)
        finally:
            self._watchers -= 1

    async def _tell(self, service: str, context: Context) -> None:
        said = None
        while True:
            change, stopping, now = self._change, self._stopping, self._status(service)
            if now != said:
                await context.write(HealthCheckResponse(status=now))
                said = now
            if stopping:
                return
            await change.wait()

    def _status(self, service: str) -> int:
        if service not in self._services:
            return HealthCheckResponse.SERVICE_UNKNOWN
        return HealthCheckResponse.SERVING if self._ready else HealthCheckResponse.NOT_SERVING

    def _look_on(self) -> None:
        """Look at the state now, and again and again for as long as anybody watches it."""
        self._look()
        if self._timer is not None:
            self._timer.cancel()
        again = asyncio.get_running_loop().call_later
        self._timer = again(LOOK_S, self._look_on) if self._watchers else None

    def _look(self) -> None:
        """Look at the state, and wake all who watch it if it has changed."""
        ready = self._is_ready() and not self._stopping
        if ready != self._ready:
            self._ready = ready
            self._wake()

    def _wake(self) -> None:
        self._change.set()
        self._change = asyncio.Event()

    def stop(self) -> None:
        """Say that the service does not serve any more, and end what watches it."""
        self._stopping = True
        self._look()
        self._wake()
