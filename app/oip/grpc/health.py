"""The standard health service of gRPC, by which Kubernetes and load balancers ask."""

import asyncio
from collections.abc import Callable

import grpc
from grpc_health.v1 import health_pb2_grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from app.oip.grpc.room import Context

LOOK_S = 0.5
"""How often the state is looked at for those who watch it."""


class Health(health_pb2_grpc.HealthServicer):
    """Says whether the service is ready, as `/readyz` does: when it is asked, or whenever that changes."""

    def __init__(self, ready: Callable[[], bool], *services: str) -> None:
        """`services` are the names that are known, beside the empty one for all of the server."""
        self._ready = ready
        self._services = ("", *services)
        self._stopping = asyncio.Event()

    async def Check(self, request: HealthCheckRequest, context: Context) -> HealthCheckResponse:  # noqa: N802
        """Answer once."""
        if request.service not in self._services:
            known = " and ".join(map(repr, self._services))
            await context.abort(grpc.StatusCode.NOT_FOUND, f"there is no service {request.service[:80]!r}; {known} are")
        return HealthCheckResponse(status=self._status(request.service))

    async def Watch(self, request: HealthCheckRequest, context: Context) -> None:  # noqa: N802
        """Answer now and whenever the state changes, until the server stops."""
        said = None
        while True:
            now = self._status(request.service)
            if now != said:
                await context.write(HealthCheckResponse(status=now))
                said = now
            if self._stopping.is_set():
                return
            await self._look()

    def _status(self, service: str) -> int:
        if service not in self._services:
            return HealthCheckResponse.SERVICE_UNKNOWN
        ready = self._ready() and not self._stopping.is_set()
        return HealthCheckResponse.SERVING if ready else HealthCheckResponse.NOT_SERVING

    async def _look(self) -> None:
        try:
            await asyncio.wait_for(self._stopping.wait(), LOOK_S)
        except TimeoutError:
            return

    def stop(self) -> None:
        """Say that the service does not serve any more, and end what watches it."""
        self._stopping.set()
