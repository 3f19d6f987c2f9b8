"""A client that has its answer, and still sends: what it sends is thrown away, within bounds.

If its connection was closed at once, the client would be reset and lose its answer (RFC 9112, 9.6).
"""

import asyncio

from app.server.deadline import Deadline

LINGER_S = 2.0
"""How long such a client may send nothing before the connection is closed."""
LONGEST_LINGER_S = 30.0
"""How long it may go on sending."""
LINGER_BYTES = 64 * 1024 * 1024
"""How much it may still send."""


class Linger:
    """The time that a client has to send the rest of what was answered already, and to see the answer."""

    def __init__(self, deadline: Deadline) -> None:
        """Take the time after which the connection is closed."""
        self._deadline = deadline
        self._loop = asyncio.get_running_loop()
        self._until = 0.0  # a time of the loop
        self._bytes = 0  # that may still come

    def begin(self) -> None:
        """Let the client send the rest."""
        self._until = self._loop.time() + LONGEST_LINGER_S
        self._bytes = LINGER_BYTES
        self._deadline.set(LINGER_S)

    def took(self, size: int) -> bool:
        """Hear that it has sent so many bytes of it. Return whether it may send more."""
        self._bytes -= size
        left_s = self._until - self._loop.time()
        if left_s > 0:
            self._deadline.set(min(LINGER_S, left_s))
        return self._bytes >= 0
