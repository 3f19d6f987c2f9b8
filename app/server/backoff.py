"""Clients that were refused because of too many requests: what they send next is read a moment later, all at once.

Otherwise a flooded process wakes up for every few requests. Each time it takes the CPU and its caches from the process
that runs the model, which costs nearly as much as the refusals (decision 38).
"""

import asyncio
from typing import Final, Protocol

REST_S: Final = 0.02
"""How long the first connection of a group rests; the others end with it.

All of them were told to come again after a second at least.
"""


class Connection(Protocol):
    """What can rest."""

    def rest(self) -> None:
        """Hear nothing of what the client sends."""
        ...

    def go_on(self) -> None:
        """Hear of it again, and of what it has sent meanwhile."""
        ...


class Backoff:
    """The connections of a process that rest."""

    def __init__(self) -> None:
        self._resting: list[Connection] = []

    def add(self, connection: Connection) -> None:
        """Have a connection rest until all that rest go on."""
        connection.rest()
        if not self._resting:
            asyncio.get_running_loop().call_later(REST_S, self._end)
        self._resting.append(connection)

    def _end(self) -> None:
        resting, self._resting = self._resting, []
        for connection in resting:
            connection.go_on()
