"""All request bodies that are in memory together: bounded, or sixty large ones would end the process."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import QueueFull

LARGEST_AT_ONCE = 8
"""How many bodies of the largest allowed size fit; an ordinary photo takes a thousandth of this room."""


class Bodies:
    """ASGI middleware that counts the bytes of bodies from their arrival until their response is sent.

    A request whose body finds no room is answered with 429, as one that finds the queue full.
    """

    def __init__(self, app: ASGIApp, max_body_bytes: int) -> None:
        self._app = app
        self._max_bytes = LARGEST_AT_ONCE * max_body_bytes
        self._bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, its body counted."""
        taken = 0

        async def counted() -> Message:
            nonlocal taken
            message = await receive()
            if size := len(message.get("body", b"")):
                taken += size
                self._bytes += size
                if self._bytes > self._max_bytes:
                    raise full(self._max_bytes)
            return message

        try:
            await self._app(scope, counted, send)
        finally:
            self._bytes -= taken


def full(max_bytes: int) -> QueueFull:
    """Return the error of a body that finds no room among others, which may have so many bytes together."""
    detail = f"the bodies of requests under way have more than {max_bytes:,} bytes together"
    return QueueFull(detail, {"Retry-After": "1"})
