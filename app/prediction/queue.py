"""One of the queues of a batcher: its items, its room, how fast it clears, and its share of the time."""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from typing import Generic, TypeVar

from app.errors import DeadlineExceeded, QueueFull

T = TypeVar("T")
R = TypeVar("R")

MEASURED = 64
"""How many slots that were freed last tell how fast slots become free."""
WEIGHT = 1 / 8
"""Of the newest run in the mean that `item_s` is."""
FRESH_S = 10.0
"""How old a measured time may be: what was slow once must get the chance to show that it is not any more."""


@dataclass(frozen=True, slots=True)
class Completed(Generic[R]):
    """The result of one item, how long it waited, how long its batch ran, and how many items ran in it."""

    result: R
    queue_ms: float
    run_ms: float
    batch_size: int


@dataclass(eq=False, slots=True)
class Item(Generic[T, R]):
    """What waits to be run: no later than `deadline` and since `arrived`, times of `time.monotonic`."""

    value: T
    deadline: float
    arrived: float
    future: asyncio.Future[Completed[R] | Exception]
    started: bool = False
    ended: bool = False
    on_end: Callable[[], None] = lambda: None

    @property
    def wanted(self) -> bool:
        """Whether somebody still waits for it."""
        return not self.future.done()

    @property
    def running(self) -> bool:
        """Whether it is worked on."""
        return self.started and not self.ended

    def withdraw(self) -> bool:
        """Take it back; return whether that spared its run."""
        if not self.started:
            self.future.cancel()
        return not self.started

    def expire(self) -> None:
        """Tell who waits for it that its time is over; what is worked on holds its room until that ends."""
        what = "while the image was run" if self.started else "before the image was run, and it was not run"
        if self.wanted:
            self.future.set_result(DeadlineExceeded(f"the deadline passed {what}"))

    def end(self, outcome: Completed[R] | Exception) -> None:
        """Tell who waits for it what came of it, and free what it held."""
        self.ended = True
        if self.wanted:
            self.future.set_result(outcome)
        self.on_end()


class Queue(Generic[T, R]):
    """A queue of its own for a sort of items."""

    def __init__(self, max_queue: int, first_s: float = 0.0) -> None:
        """`first_s` is how long an item is taken to run before any has."""
        self.items: deque[Item[T, R]] = deque()
        self.admitted = 0
        self.served_s = 0.0  # of the time, on the clock that all queues of a batcher share
        self._max_queue = max_queue
        self._first_s = self._item_s = first_s
        self._ran = 0.0
        self._busy_since = 0.0
        self._freed: deque[float] = deque(maxlen=MEASURED)

    def check(self, count: int) -> None:
        """Raise `QueueFull`, with the computed `Retry-After`, unless `count` more have room."""
        if self.admitted + count > self._max_queue:
            raise self._full(count)

    def admit(self, count: int) -> None:
        """Take the room of `count` items."""
        if not self.admitted:
            self._busy_since = time.monotonic()
            self._freed.clear()
        self.admitted += count

    def free(self) -> None:
        """Give the room of one item back."""
        self.admitted -= 1
        self._freed.append(time.monotonic())

    def served(self, elapsed_s: float, count: int) -> None:
        """Take note that `count` items ran together for so long."""
        self.served_s += elapsed_s
        known = self.item_s or elapsed_s / count
        self._item_s = known + WEIGHT * (elapsed_s / count - known)
        self._ran = time.monotonic()

    @property
    def item_s(self) -> float:
        """How long one item takes to run: the mean of the last runs, or what it was at first."""
        return self._item_s if time.monotonic() - self._ran < FRESH_S else self._first_s

    @property
    def backlog_s(self) -> float:
        """How long one run after the other would take for all that is admitted."""
        return self.admitted * self.item_s

    def _full(self, count: int) -> QueueFull:
        # Two digits are what an estimate is good for, and many who are refused at once are then told the same.
        wait_s = float(f"{self.admitted * self._seconds_a_slot():.2g}")
        detail = (
            f"{self.admitted} of {self._max_queue} places are taken and {count} more are asked for; "
            f"they clear in about {wait_s:g} s"
        )
        facts = {"queue_depth": self.admitted, "estimated_wait_ms": round(wait_s * 1000)}
        return QueueFull(detail, {"Retry-After": str(max(1, ceil(wait_s)))}, facts)

    def _seconds_a_slot(self) -> float:
        """Return how long a slot takes to become free, over the last ones of this busy time; 0 if none has yet."""
        if not self._freed:
            return 0.0
        since = self._freed[0] if len(self._freed) == MEASURED else self._busy_since
        return (time.monotonic() - since) / len(self._freed)
