"""The gRPC server of a process, on the event loop on which the process serves HTTP."""

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from grpc import aio
from grpc_health.v1 import health_pb2_grpc
from grpc_health.v1.health_pb2 import DESCRIPTOR as HEALTH
from grpc_reflection.v1alpha import reflection

from app.api.security import Guard
from app.config import PREFIX, Settings
from app.errors import StartError
from app.machine import open_files_limit
from app.observability.trace import Requests
from app.oip.grpc import most_connections
from app.oip.grpc.calls import Calls
from app.oip.grpc.health import Health
from app.oip.grpc.methods import SERVICE, Methods
from app.oip.grpc.room import Rooms
from app.oip.grpc.standard import Standard
from app.prediction.classifier import Classifier

if TYPE_CHECKING:
    from app.observability.spans import Spans

logger = logging.getLogger(__name__)

GRACE_S = 1.0
"""How much longer than the deadline of calls a server that stops waits for them."""
REFUSE_S = 0.2
"""How long a server that stops answers calls with UNAVAILABLE before it closes connections.

gRPC's core ends what comes in the moment of closing as CANCELLED, which clients take for their own doing. By then those
that were told to come again later have stopped asking here.
"""
IDLE_S = 300.0
"""After so long without a call a connection is closed, whose client makes a new one for its next call by itself."""
KEEPALIVE_S = 60.0
"""How often a client with a call under way is asked whether it is still there; without an answer its calls end."""
NO_COMPRESSION = 1
"""The set of algorithms for messages that has none but `identity`: a message may grow a thousandfold."""
HEALTH_SERVICE = HEALTH.services_by_name["Health"].full_name


class GrpcServer:
    """Takes calls of the Open Inference Protocol, of the health service and of reflection."""

    port: int

    def __init__(
        self,
        settings: Settings,
        guard: Guard,
        requests: Requests,
        *,
        classifier: Callable[[], Classifier],
        alive: Callable[[], None],
        spans: "Spans | None" = None,
    ) -> None:
        """`classifier` and `alive` are those of `Methods`."""
        self._settings = settings
        most = most_connections(open_files_limit())
        rooms = Rooms.of(settings, most)
        methods = Methods(settings, guard, rooms, classifier, alive)
        self._stopping: asyncio.Task[None] | None = None
        self._health = Health(methods.ready, most // 4, SERVICE)
        standard = Standard(settings, rooms.short, SERVICE)
        self._server = aio.server(
            interceptors=[standard], options=_options(settings, most), maximum_concurrent_rpcs=most
        )
        self._calls = Calls(SERVICE, settings, requests, spans)
        self._server.add_generic_rpc_handlers((self._calls.handler(methods.by_name),))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        reflection.enable_server_reflection((SERVICE, HEALTH_SERVICE, reflection.SERVICE_NAME), self._server)

    async def start(self) -> None:
        """Take calls. Raises `StartError`, whose message is one line, if the port is taken."""
        host, port = self._settings.host, self._settings.grpc_port
        shown = f"[{host}]" if ":" in host else host
        try:
            self.port = self._server.add_insecure_port(f"{shown}:{port}")
        except RuntimeError as exc:
            raise StartError(f"{PREFIX}HOST={host} {PREFIX}GRPC_PORT={port}: cannot listen there") from exc
        await self._server.start()
        logger.info("gRPC on %s:%d", shown, self.port)

    def drain(self) -> None:
        """Begin to stop: take no more calls, and finish those that there are."""
        if self._stopping is None:
            self._health.stop()
            self._calls.refuse()
            self._stopping = asyncio.get_running_loop().create_task(self._close())

    async def _close(self) -> None:
        await asyncio.sleep(REFUSE_S)
        await self._server.stop(self._settings.request_timeout_ms / 1000 + GRACE_S)

    async def stop(self) -> None:
        """Stop, and wait until the calls that there are have been answered."""
        self.drain()
        assert self._stopping is not None  # noqa: S101 (for mypy)
        await self._stopping


def _options(settings: Settings, most: int) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", settings.max_body_bytes),
        ("grpc.max_allowed_incoming_connections", most),
        ("grpc.server_handshake_timeout_ms", settings.request_timeout_ms),
        ("grpc.max_connection_idle_ms", round(1000 * IDLE_S)),
        ("grpc.keepalive_time_ms", round(1000 * KEEPALIVE_S)),
        ("grpc.compression_enabled_algorithms_bitset", NO_COMPRESSION),
        # A call that waits has 64 KiB in memory. On a quick network the core would let it have 5 MB, read or not.
        ("grpc.http2.bdp_probe", 0),
        # Several HTTP processes share the port; one that is alone must not share it with another service.
        ("grpc.so_reuseport", int(settings.http_workers > 1)),
    ]
