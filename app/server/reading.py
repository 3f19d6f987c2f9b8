"""The half of a connection that reads, which may be told to wait."""

import asyncio
import socket
from contextlib import suppress

RESTING_BYTES = 256 * 1024
"""While a connection rests, it is not heard of before its client has sent so much."""


class Reading(asyncio.Protocol):
    """Reads, unless it is told to wait, and rests when it is told so."""

    _transport: asyncio.Transport
    _reading = True
    _resting = False

    def pause_reading(self) -> None:
        """Read no more from the client for now."""
        if self._reading:
            self._reading = False
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read on, if reading was paused."""
        if not self._reading and not self._transport.is_closing():
            self._reading = True
            self._transport.resume_reading()

    def rest(self) -> None:
        """Have the kernel say nothing of what the client sends, unless it is much.

        To pause reading would not do: the event loop is still woken up once for each connection that is paused.
        """
        self._resting = True
        self._wake_at(RESTING_BYTES)

    def go_on(self) -> None:
        """Have the kernel say what the client sends, or has sent."""
        self._resting = False
        if not self._transport.is_closing():
            self._wake_at(1)
            if self._reading:  # Linux before 4.18 does not say by itself what is there already
                self._transport.pause_reading()
                self._transport.resume_reading()

    def _wake_at(self, size: int) -> None:
        with suppress(OSError):  # without the option a connection just does not rest
            self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, size)
