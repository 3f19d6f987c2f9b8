"""A call from its metadata to its status: it is counted, logged and bounded in time as a request over HTTP is."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import grpc
from google.protobuf.message import Message

from app.api import problems
from app.config import Settings
from app.errors import BodyTooLarge, DeadlineExceeded, Draining, ServiceError
from app.observability.trace import Requests, Trace
from app.oip.grpc import status
from app.oip.grpc.room import Context, Room

if TYPE_CHECKING:
    from app.observability.spans import Spans

logger = logging.getLogger(__name__)

TRAVELS_S = 0.1
"""How long a call may take to get here. Its deadline passes so much sooner at the client, which then cancels the call.
Without this allowance that would be logged as a client that left."""


@dataclass(frozen=True, slots=True)
class Call:
    """A call under way: its metadata, what is known of it, and the time of `time.monotonic` until which it waits."""

    metadata: Mapping[str, str]
    trace: Trace
    deadline: float
    settings: Settings
    context: Context

    async def body(self, room: Room) -> bytes:
        """Receive the one message of the call within a room. Raises what `Room.receive` does, or `BodyTooLarge`."""
        found = await room.receive(self.context, self.deadline)
        if found is None:  # gRPC's core has refused a message that is too long by now, and its status counts
            raise BodyTooLarge(f"the call has no message, or one of more than {self.settings.max_body_bytes:,} bytes")
        return found


Method = Callable[[Call], Awaitable[Message]]
"""Answers a call. Raises `ServiceError`."""


class Calls:
    """Has calls answered by methods, each with a status, a line in the log and its part in the metrics."""

    def __init__(self, service: str, settings: Settings, requests: Requests, spans: "Spans | None") -> None:
        """`service` is the name of the gRPC service, which the paths of its methods begin with."""
        self._service = service
        self._settings = settings
        self._requests = requests
        self._spans = spans
        self._stopping = False

    def refuse(self) -> None:
        """Answer calls that come from now on with the news that the service is stopping."""
        self._stopping = True

    def handler(self, methods: Mapping[str, Method]) -> grpc.GenericRpcHandler:
        """Return what answers the calls of the service by methods of these names.

        To gRPC's library the methods take a stream of messages, which looks the same to a client and lets them read
        the message when they want it: after the key was checked, and only if there is room.
        """
        handlers = {name: self._handler(name, method) for name, method in methods.items()}
        return grpc.method_handlers_generic_handler(self._service, handlers)

    def _handler(self, name: str, method: Method) -> Any:
        async def answer(_: object, context: Context) -> bytes:
            chosen = _refuse if self._stopping else method
            return await self._answer(f"/{self._service}/{name}", chosen, context)

        return grpc.stream_unary_rpc_method_handler(answer)

    async def _answer(self, path: str, method: Method, context: Context) -> bytes:
        call, waits_until = self._begin(context)
        number = problems.CLIENT_CLOSED_REQUEST
        try:
            found, refusal = await _outcome(method, call)
            number = refusal.http_status if refusal else 200
        except asyncio.CancelledError:  # by gRPC's core, when the client left or its deadline has passed
            if time.monotonic() >= waits_until - TRAVELS_S:
                number = DeadlineExceeded.status
            raise
        finally:
            self._requests.end(call.trace, number, method="POST", path=path, route=path)
        if refusal:
            await context.abort(refusal.code, refusal.detail, refusal.metadata)
        context.set_trailing_metadata(status.metadata(call.trace))
        return found

    def _begin(self, context: Context) -> tuple[Call, float]:
        """Return the call, and until when its client waits for it."""
        given = {name: value for name, value in context.invocation_metadata() or () if isinstance(value, str)}
        current = self._requests.begin(given, self._spans)
        most_s = self._settings.request_timeout_ms / 1000
        left_s = context.time_remaining()
        waits_s = most_s if left_s is None else max(0.0, left_s)
        deadline = current.started + min(most_s, waits_s)
        return Call(given, current, deadline, self._settings, context), current.started + waits_s


async def _refuse(_: Call) -> Message:
    raise Draining("the service is stopping", {"Retry-After": "1"})


class Refusal(NamedTuple):
    """What a call is told that failed. It is not the error, whose traceback has the frames that have the message.

    gRPC's library keeps the frames of a call that it aborts until garbage is collected, which is seldom.
    """

    http_status: int
    code: grpc.StatusCode
    detail: str
    metadata: status.Metadata


async def _outcome(method: Method, call: Call) -> tuple[bytes, Refusal | None]:
    """Return the message that answers the call, or why there is none."""
    try:
        return (await method(call)).SerializeToString(), None
    except ServiceError as exc:
        return b"", _refusal(exc, call.trace)
    except Exception:
        logger.exception("a call failed")
        return b"", _refusal(problems.bug(), call.trace)


def _refusal(error: ServiceError, current: Trace) -> Refusal:
    code = status.code(error)
    current.facts |= {"code": error.code, "grpc_status": code.name}
    return Refusal(error.status, code, error.detail, status.metadata(current, error))
