"""Room in memory for the messages of calls: bounded together, as the bodies of HTTP are.

How long a message is, gRPC says only when all of it has come. Until then it counts as the largest that is allowed, and
other calls wait for room in the order of their arrival. Of what waits, no more than a window of HTTP/2 is in memory.
"""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from math import inf
from typing import Any, NamedTuple

from grpc import aio

from app.api import payload
from app.api.middleware.bodies import LARGEST_AT_ONCE, full
from app.config import Settings
from app.errors import QueueFull

Context = aio.ServicerContext[Any, Any]

PATIENCE_S = 0.5
"""After so long a message that has not come makes room for a call that waits: a client may call, and send nothing."""
SHORT_PATIENCE_S = 0.1
"""The same for short messages, counted from the call: they come together with it, even while it waits for its turn."""
SHORT_LEAST_S = 0.005
"""How long a short message is received at least, however late its turn comes; one that is there takes less than 1 ms.

It is what one silent client costs those behind it: with 0.1 s, sixty of them delayed a probe by 6 s.
"""
SHORT_AT_ONCE = 2
"""Two, because a reflection stream that stays open between its questions occupies one."""


class Room:
    """Room for some messages of the largest allowed size, or for many small ones."""

    def __init__(
        self,
        settings: Settings,
        messages: int,
        patience_s: float,
        least_s: float | None = None,
        longest_line: float = inf,
    ) -> None:
        """Make room for so many messages of the largest size, for which at most `longest_line` calls wait.

        While others wait, a message is given up that has not come `patience_s` after its call, and `least_s` after its
        turn began. Without `least_s`, all of `patience_s` is counted from its turn.
        """
        self._settings = settings
        self._largest = settings.max_body_bytes
        self._most = messages * self._largest
        self._patience_s = patience_s
        self._least_s = patience_s if least_s is None else least_s
        # The oldest half are never hurried; otherwise no large message would ever arrive under load.
        self._kept = messages // 2
        self._coming: dict[asyncio.Timeout, float] = {}  # the oldest first, and until when each is let be
        self._held = 0  # bytes that have come
        self._line, self._longest_line = 0, longest_line
        self._turn, self._change = asyncio.Lock(), asyncio.Event()

    async def receive(self, context: Context, deadline: float) -> bytes | None:
        """Return the next message of a call; None if there is none, or one that is too long, which gRPC's core refuses.

        `deadline` is a time of `time.monotonic`. Raises `QueueFull` if there is no room, or `DeadlineExceeded`.
        """
        try:
            async with asyncio.timeout(deadline - time.monotonic()):
                found = await self._read(context)
        except TimeoutError:
            raise payload.late(self._settings) from None
        return found if isinstance(found, bytes) else None

    @contextmanager
    def holding(self, size: int) -> Iterator[None]:
        """Count the bytes of a message that has just been received for as long as it is used."""
        self._held += size
        try:
            yield
        finally:
            self._held -= size
            self._change.set()

    async def _read(self, context: Context) -> object:
        loop = asyncio.get_running_loop()
        called = loop.time()
        with self._in_line():
            async with self._turn:
                while self._held + (len(self._coming) + 1) * self._largest > self._most:
                    await self._some_change()
                limit = asyncio.timeout(None)
                self._coming[limit] = max(called + self._patience_s, loop.time() + self._least_s)
        try:
            async with limit:
                return await context.read()
        except TimeoutError:
            raise self._slow() from None
        finally:
            del self._coming[limit]
            self._change.set()

    @contextmanager
    def _in_line(self) -> Iterator[None]:
        if self._line >= self._longest_line:
            raise QueueFull(f"{self._line} calls wait for room for their messages", {"Retry-After": "1"})
        self._line += 1
        try:
            yield
        finally:
            self._line -= 1

    async def _some_change(self) -> None:
        """Wait until a message has come, has to come, or is not used any more."""
        if len(self._coming) <= self._kept:
            raise full(self._most)
        limit, until = next(islice(self._coming.items(), self._kept, None))
        left_s = until - asyncio.get_running_loop().time()
        if left_s <= 0 and not limit.expired():
            limit.reschedule(0)  # in the next turn of the loop, which may know by now of a message that has come
        self._change.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(left_s if left_s > 0 else None):
                await self._change.wait()

    def _slow(self) -> QueueFull:
        detail = f"the message had not come after {self._patience_s:g} s, and others wait for its room in memory"
        return QueueFull(detail, {"Retry-After": "1"})


class Rooms(NamedTuple):
    """A room for messages that have images, and one for all others, so that probes do not wait for images."""

    images: Room
    short: Room

    @classmethod
    def of(cls, settings: Settings, calls: int) -> "Rooms":
        """Make rooms that together take as much as all bodies of HTTP.

        Of so many `calls` as there may be at the same time, half may wait for room for images: what gRPC's core
        refuses because there are more might be a probe.
        """
        images = Room(settings, LARGEST_AT_ONCE - SHORT_AT_ONCE, PATIENCE_S, longest_line=calls // 2)
        return cls(images, Room(settings, SHORT_AT_ONCE, SHORT_PATIENCE_S, SHORT_LEAST_S))
