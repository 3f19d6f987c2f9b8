"""The half of a connection that sends, to a client that has to take what is sent to it."""

import asyncio
from typing import cast

from app.server.deadline import Deadline

TAKING_S = 5.0
"""How long a client may take nothing of what was sent to it."""


class Sending(asyncio.Protocol):
    """Sends, and cuts off a client that for some time takes nothing of it. A slow client takes something."""

    _transport: asyncio.Transport
    blocked: asyncio.Event | None = None
    """Set once the client reads again or is gone; None while it keeps up."""

    def __init__(self) -> None:
        self._written_bytes = 0
        self._taken_before = 0
        """Bytes that the client had taken when it was last looked at."""
        self._taking = Deadline(self._look_what_was_taken)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send over this transport."""
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Hear that nothing can be sent any more."""
        self._taking.end()
        self.resume_writing()

    def eof_received(self) -> None:
        """Hear that the client sends no more. The transport then closes once everything is sent, as by `close`."""
        self._expect_taking()

    def write(self, data: bytes) -> None:
        """Send it, unless the client is gone."""
        if not self._transport.is_closing():
            self._written_bytes += len(data)
            self._transport.write(data)

    def close(self) -> None:
        """Close the connection once everything is sent."""
        self._transport.close()
        self._expect_taking()

    def pause_writing(self) -> None:
        """Hear that the client takes less than is sent to it."""
        self.blocked = asyncio.Event()
        self._expect_taking()

    def resume_writing(self) -> None:
        """Hear that the client has taken most of it."""
        if self.blocked is not None:
            self.blocked.set()
            self.blocked = None

    @property
    def _taken_bytes(self) -> int:
        return self._written_bytes - self._transport.get_write_buffer_size()

    def _expect_taking(self) -> None:
        if not self._taking.is_set and self._transport.get_write_buffer_size():
            self._taken_before = self._taken_bytes
            self._taking.set(TAKING_S)

    def _look_what_was_taken(self) -> None:
        if self._taken_bytes > self._taken_before:
            self._expect_taking()
        else:
            self._transport.abort()
