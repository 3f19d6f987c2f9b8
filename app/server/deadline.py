"""A time of a connection after which something is done, such as closing it, unless the time is moved before that."""

import asyncio
from collections.abc import Callable
from math import inf

READ_S = 0.1
"""How long bytes are waited for once a time is over: those that came while the process stood still are not read yet."""


class Deadline:
    """Does something `READ_S` after a time is over, unless the time was moved by then.

    One timer serves many times, since nearly all of them are moved before they are over.
    """

    __slots__ = ("_do", "_looks_at", "_loop", "_overdue", "_timer", "_until")

    def __init__(self, do: Callable[[], None]) -> None:
        """Take what is to be done, in the running loop. There is no time yet."""
        self._do = do
        self._loop = asyncio.get_running_loop()
        self._until = inf  # a time of the loop; infinite if there is none
        self._overdue = False
        self._timer: asyncio.TimerHandle | None = None
        self._looks_at = inf  # when the timer ends

    @property
    def is_set(self) -> bool:
        """Whether there is a time."""
        return self._until < inf

    def set(self, seconds: float) -> None:
        """Let the time be over in so many seconds, instead of any time before."""
        self._until = self._loop.time() + seconds
        self._overdue = False
        if self._until < self._looks_at:
            self._look_in(seconds)

    def lift(self) -> None:
        """Let there be no time."""
        self._until = inf

    def end(self) -> None:
        """Never do anything any more, and forget what was to be done, which may hold this deadline in turn."""
        self._until, self._do = inf, _nothing
        if self._timer is not None:
            self._timer.cancel()

    def _look_in(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._looks_at = self._loop.time() + seconds
        self._timer = self._loop.call_later(seconds, self._look)

    def _look(self) -> None:
        self._timer, self._looks_at = None, inf
        left_s = self._until - self._loop.time()
        if left_s <= 0 and self._overdue:
            self._until = inf
            self._do()
        elif left_s < inf:
            self._overdue = left_s <= 0
            self._look_in(READ_S if self._overdue else left_s)


def _nothing() -> None:
    pass
