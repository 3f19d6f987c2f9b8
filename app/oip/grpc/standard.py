"""The standard services of gRPC, for health and reflection, which libraries implement: their messages are bounded, too.

A library would receive messages of any number of calls at the same time, and of clients without a key.
"""

import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, TypeAlias

import grpc
from google.protobuf.message import DecodeError
from grpc import aio

from app.config import Settings
from app.errors import BodyTooLarge, MalformedRequest, ServiceError
from app.oip.grpc import status
from app.oip.grpc.room import Context, Room

MOST_BYTES = 65_536
"""Their messages have names of services, and need a hundredth of it."""

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any] | None"
Continuation: TypeAlias = "Callable[[grpc.HandlerCallDetails], Awaitable[Handler]]"


class Standard(aio.ServerInterceptor):
    """Has the methods of all services but one receive their messages within a room."""

    def __init__(self, settings: Settings, room: Room, own: str) -> None:
        """`own` is the service whose methods receive messages themselves."""
        self._timeout_s = settings.request_timeout_ms / 1000
        self._room = room
        self._own = f"/{own}/"

    async def intercept_service(self, continuation: Continuation, details: grpc.HandlerCallDetails) -> Handler:
        """Return the method that was called as one that takes and gives streams: on the wire that is the same."""
        found = await continuation(details)
        if found is None or details.method.startswith(self._own):
            return found

        async def answer(_: object, context: Context) -> None:
            if refusal := await self._refusal(found, context):
                await context.abort(*refusal)

        return grpc.stream_stream_rpc_method_handler(answer, response_serializer=found.response_serializer)

    async def _refusal(self, method: Handler, context: Context) -> tuple[grpc.StatusCode, str] | None:
        """Have a method answer, or return why it is not asked."""
        try:
            await self._answer(method, context)
        except ServiceError as exc:
            return status.code(exc), exc.detail
        return None

    async def _answer(self, method: Any, context: Context) -> None:
        async with aclosing(self._requests(method.request_deserializer, context)) as requests:
            if method.request_streaming:
                async for answer in method.stream_stream(requests, context):
                    await context.write(answer)
                return
            request = await anext(requests, None)
            if request is None:
                raise MalformedRequest("the call has no message")
            if method.response_streaming:
                await method.unary_stream(request, context)
            else:
                await context.write(await method.unary_unary(request, context))

    async def _requests(self, parse: Callable[[bytes], Any], context: Context) -> AsyncGenerator[Any, None]:
        while (body := await self._room.receive(context, time.monotonic() + self._timeout_s)) is not None:
            if len(body) > MOST_BYTES:
                raise BodyTooLarge(f"the message has more than {MOST_BYTES:,} bytes, the most that is accepted")
            try:
                request = parse(body)
            except DecodeError as exc:
                raise MalformedRequest(f"the message is not in the encoding of protocol buffers: {exc}") from exc
            yield request
