"""A queue of a batcher: its items, its bound, how fast it clears, and its share of the running time."""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from math import ceil
from typing import Generic, NamedTuple, TypeVar

from app.errors import DeadlineExceeded, QueueFull

T = TypeVar("T")
R = TypeVar("R")

MEASURED = 64
"""From how many of the slots that were freed last `Retry-After` is computed."""
WEIGHT = 1 / 8
"""Weight of the newest run in the moving average of the time that an item takes."""
FRESH_S = 10.0
"""After so many seconds without a run the average is forgotten. A variant that was slow once would otherwise never be
chosen again by a budget, and so never be measured again."""


class Completed(NamedTuple, Generic[R]):
    """The result of one item, how long it was queued, how long its batch ran, and how many items the batch had."""

    result: R
    queue_ms: float
    run_ms: float
    batch_size: int


@dataclass(eq=False, slots=True)
class Item(Generic[T, R]):
    """What is to be run before its `deadline`, and when it `arrived`: times of `time.monotonic`."""

    value: T
    deadline: float
    arrived: float
    future: asyncio.Future[Completed[R] | Exception]
    started: bool = False
    ended: bool = False
    on_end: Callable[[], None] = lambda: None

    @property
    def wanted(self) -> bool:
        """Whether a caller still waits for it."""
        return not self.future.done()

    @property
    def running(self) -> bool:
        """Whether its batch is running."""
        return self.started and not self.ended

    def withdraw(self) -> bool:
        """Take it back; return whether it will not be run."""
        if not self.started:
            self.future.cancel()
        return not self.started

    def expire(self) -> None:
        """Tell the caller that the deadline has passed. If its run has begun, the slot is held until that ends."""
        what = "while the image was run" if self.started else "before the image was run, and it was not run"
        if self.wanted:
            self.future.set_result(DeadlineExceeded(f"the deadline passed {what}"))

    def end(self, outcome: Completed[R] | Exception) -> None:
        """Give the caller the result or the error, and call `on_end`."""
        self.ended = True
        if self.wanted:
            self.future.set_result(outcome)
        self.on_end()


class Queue(Generic[T, R]):
    """Items of one kind in the order of their arrival, at most `max_queue` that have been admitted and not ended."""

    def __init__(self, max_queue: int, first_s: float = 0.0) -> None:
        """Expect an item to run for `first_s` seconds as long as none has been measured."""
        self.items: deque[Item[T, R]] = deque()
        self.admitted = 0
        self.served_s = 0.0  # virtual service time of fair queueing (decision 0014)
        self._max_queue = max_queue
        self._first_s = self._item_s = first_s
        self._ran = 0.0
        self._busy_since = 0.0
        self._freed: deque[float] = deque(maxlen=MEASURED)

    def check(self, count: int) -> None:
        """Raise `QueueFull`, with a computed `Retry-After`, unless there is room for `count` more items."""
        if self.admitted + count > self._max_queue:
            raise self._full(count)

    def admit(self, count: int) -> None:
        """Take `count` slots."""
        if not self.admitted:
            self._busy_since = time.monotonic()
            self._freed.clear()
        self.admitted += count

    def free(self) -> None:
        """Free one slot."""
        self.admitted -= 1
        self._freed.append(time.monotonic())

    def remove(self, item: Item[T, R]) -> None:
        """Let go of an item that nobody waits for any more, which may have been taken out already."""
        with suppress(ValueError):
            self.items.remove(item)

    def charge(self, elapsed_s: float) -> None:
        """Note that a batch ran for `elapsed_s` seconds, whatever came of it."""
        self.served_s += elapsed_s

    def served(self, elapsed_s: float, count: int) -> None:
        """Note that a batch of `count` items ran for `elapsed_s` seconds and did not fail."""
        self.charge(elapsed_s)
        known = self.item_s or elapsed_s / count
        self._item_s = known + WEIGHT * (elapsed_s / count - known)
        self._ran = time.monotonic()

    @property
    def item_s(self) -> float:
        """How many seconds one item takes to run: a moving average, or `first_s` if it is too old."""
        return self._item_s if time.monotonic() - self._ran < FRESH_S else self._first_s

    @property
    def backlog_s(self) -> float:
        """How many seconds all admitted items would take to run one after the other."""
        return self.admitted * self.item_s

    def _full(self, count: int) -> QueueFull:
        # Two significant digits: it is an estimate, and callers that are refused together are told the same.
        wait_s = float(f"{self.admitted * self._seconds_a_slot():.2g}")
        detail = (
            f"{self.admitted} of {self._max_queue} places in the queue are taken, and the request needs {count}; "
            f"the queue clears in about {wait_s:g} s"
        )
        facts = {"queue_depth": self.admitted, "estimated_wait_ms": round(wait_s * 1000)}
        return QueueFull(detail, {"Retry-After": str(max(1, ceil(wait_s)))}, facts)

    def _seconds_a_slot(self) -> float:
        """Return the mean seconds from one freed slot to the next, since the queue was last empty; 0 if unknown."""
        if not self._freed:
            return 0.0
        since = self._freed[0] if len(self._freed) == MEASURED else self._busy_since
        return (time.monotonic() - since) / len(self._freed)
