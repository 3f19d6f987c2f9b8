"""One request of a connection and its response, between the protocol of the connection and an ASGI application."""

import asyncio
import logging
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any, Protocol

from starlette.types import ASGIApp, Message, Scope

from app.api.payload import WHOLE
from app.errors import MalformedRequest

logger = logging.getLogger(__name__)

UNREAD_BYTES = 256 * 1024
"""So much of a body is kept until the application reads it; meanwhile the client is not read from."""
STATUS_LINES = {status.value: b"HTTP/1.1 %d %b" % (status, status.phrase.encode()) for status in HTTPStatus}
CONTROL = bytes({*range(32), 127} - {ord("\t")})
"""What a value of a header must not have, and `NO_TOKEN` what a name must not have (RFC 9110, 5.5 and 5.1)."""
NO_TOKEN = CONTROL + b'\t ()<>@,;:\\"/[]?={}'
WITHOUT_BODY = (204, 304)
HTTP_1_1 = "1.1"
"""From this version on there are chunks and `100 Continue`, and connections stay open. Versions compare as texts."""

Fields = list[tuple[bytes, bytes]]


def _has(some: bytes, texts: Iterable[bytes]) -> bool:
    """Whether one of these bytes is in one of the texts. To delete them is quicker than a regular expression."""
    text = b"".join(texts)
    return len(text.translate(None, some)) != len(text)


class Connection(Protocol):
    """What an exchange needs of its connection."""

    blocked: asyncio.Event | None
    """Set once the client reads again or is gone; None while it keeps up."""

    @property
    def default_headers(self) -> Fields:
        """The headers of every response."""
        ...

    def write(self, data: bytes) -> None:
        """Send it."""
        ...

    def pause_reading(self) -> None:
        """Read no more from the client."""
        ...

    def resume_reading(self) -> None:
        """Read on, if reading was paused."""
        ...

    def close(self) -> None:
        """Close the connection once everything is sent."""
        ...

    def answered(self, exchange: "Exchange") -> None:
        """Hear that the response of this exchange is complete."""
        ...


class Exchange:
    """A request that comes in, and what an application answers to it.

    An application that wants the body gets all of it at once, or `UNREAD_BYTES` and more of it at a time.
    """

    __slots__ = (
        "_body",
        "_connection",
        "_expects_continue",
        "_fault",
        "_head",
        "_left",
        "_news",
        "_told_end",
        "_unread",
        "complete",
        "disconnected",
        "keep_alive",
        "more_body",
        "scope",
        "status",
    )

    def __init__(self, connection: Connection, scope: Scope, *, keep_alive: bool, expects_continue: bool) -> None:
        self.scope = scope
        scope["extensions"] = {WHOLE: self._whole}
        self.keep_alive = keep_alive
        self.more_body = True
        """Whether some of the body has not come yet."""
        self.status = 0
        """That of the response; 0 before there is one."""
        self.complete = False
        """Whether all of the response was sent."""
        self.disconnected = False
        self._connection = connection
        self._expects_continue = expects_continue
        self._body: list[bytes] = []
        self._unread = 0
        self._fault: str | None = None  # of the body, which will never be whole
        self._told_end = False  # of the body, to the application
        self._news: asyncio.Event | None = None  # made by whoever has to wait
        self._head: bytes | None = None  # of the response, until its body comes
        self._left: int | None = None  # bytes of the response's body; None if its length was not said

    def add_body(self, data: bytes) -> None:
        """Take a part of the body; what comes after the response is thrown away."""
        if self.complete:
            return
        self._body.append(data)
        self._unread += len(data)
        if self._unread >= UNREAD_BYTES:
            self._connection.pause_reading()
            self._tell()

    def end_body(self) -> None:
        """Hear that the body is whole."""
        if not self.complete:
            self.more_body = False
            self._tell()

    def break_off(self, fault: str) -> None:
        """Hear what is not HTTP in the body, of which no more will come. Whoever still waits for the body answers that.

        The connection will be closed.
        """
        self.keep_alive = False
        if not self.status:
            self._fault, self._expects_continue = fault, False
            self._tell()

    def disconnect(self) -> None:
        """Hear that the client is gone."""
        self.disconnected = not self.complete
        self._expects_continue = False
        self._tell()

    def _tell(self) -> None:
        if self._news is not None:
            self._news.set()

    def _whole(self) -> bool:
        return not self.more_body

    @property
    def over(self) -> bool:
        """Whether nothing more will be sent: the response is complete, or the client is gone."""
        return self.disconnected or self.complete

    @property
    def _readable(self) -> bool:
        return (not self.more_body and not self._told_end) or self._unread >= UNREAD_BYTES

    async def receive(self) -> Message:
        """Return the next part of the body, or wait until the exchange is over (ASGI).

        Raises `MalformedRequest` if what came is not HTTP.
        """
        if self._expects_continue:
            self._expects_continue = False
            self._connection.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        while not (self.over or self._fault or self._readable):
            self._connection.resume_reading()
            if self._news is None:
                self._news = asyncio.Event()
            self._news.clear()
            await self._news.wait()
        if self.over:
            return {"type": "http.disconnect"}
        if self._fault:
            raise MalformedRequest(self._fault)
        self._told_end = not self.more_body
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._body, self._unread = [], 0
        return {"type": "http.request", "body": body, "more_body": self.more_body}

    async def send(self, message: Message) -> None:
        """Send the head of the response, or a part of its body (ASGI). Raises `RuntimeError` for anything else."""
        if self._connection.blocked is not None:
            await self._connection.blocked.wait()
        if self.disconnected:
            return
        kind = message["type"]
        if kind == "http.response.start" and self._head is None and not self.complete:
            self._expects_continue = False
            self.status = message["status"]
            self._head = self._started(self.status, message.get("headers", ()))
        elif kind == "http.response.body" and self._head is not None and not self.complete:
            self._send_body(message.get("body", b""), message.get("more_body", False))
        else:
            raise RuntimeError(f"the application sends {kind} where a response has none")

    def _started(self, status: int, headers: Any) -> bytes:
        """Return the head of the response, and note how its body will be framed."""
        fields: Fields = [*self._connection.default_headers, *headers]
        said = {name.lower(): value for name, value in fields}
        if _has(NO_TOKEN, said) or _has(CONTROL, [value for _, value in fields]):
            raise RuntimeError("the application sends a header that HTTP does not have")
        if b"close" in said.get(b"connection", b"").lower():
            self.keep_alive = False
        elif not self.keep_alive:
            fields.append((b"connection", b"close"))
        if self.scope["method"] == "HEAD" or status in WITHOUT_BODY:
            self._left = 0
        elif b"content-length" in said:
            self._left = int(said[b"content-length"])
        elif self._has_chunks:
            fields.append((b"transfer-encoding", b"chunked"))
        first = STATUS_LINES.get(status) or b"HTTP/1.1 %d " % status
        return b"\r\n".join([first, *map(b": ".join, fields), b"", b""])

    @property
    def _has_chunks(self) -> bool:
        """Whether a body of unknown length is sent in chunks. Before HTTP/1.1 it ends with its connection instead."""
        return bool(self.scope["http_version"] >= HTTP_1_1)

    def _send_body(self, body: bytes, more: bool) -> None:
        if self._left is None and not self._has_chunks:
            framed = body
        elif self._left is None:
            framed = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            framed = framed if more else framed + b"0\r\n\r\n"
        elif self.scope["method"] == "HEAD":
            framed = b""
        else:
            self._left -= len(body)
            if self._left < 0 or (self._left and not more):
                raise RuntimeError("the body of the response has another length than its head says")
            framed = body
        if framed or self._head:
            self._connection.write((self._head or b"") + framed)
            self._head = b""
        if not more:
            self.complete = True
            self._tell()
            self._connection.answered(self)

    async def run(self, application: ASGIApp) -> None:
        """Have an application answer. If it fails, that is answered with 500, or the connection is closed."""
        try:
            await application(self.scope, self.receive, self.send)
        except BaseException as exc:
            logger.error("the application failed", exc_info=exc)
        else:
            if self.over:
                return
            logger.error("the application ended without a whole response")
        finally:
            del self.scope["extensions"]  # or the two would hold one another until garbage is collected
        await self._fail()

    async def _fail(self) -> None:
        if self.over:
            return
        if self._head == b"":  # a part of the response was sent
            self._connection.close()
            return
        self._head, self.keep_alive = None, False
        text = b"Internal Server Error"
        about = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"%d" % len(text))]
        await self.send({"type": "http.response.start", "status": 500, "headers": about})
        await self.send({"type": "http.response.body", "body": text})
