"""Dynamic batching in an event loop. It knows nothing of images or models.

A request takes slots before any work is done, and puts its items into a queue. While fewer than `runs` batches run, an
item starts at once; otherwise items gather, and form a batch when a run ends. A batch is taken from one queue: from the
one that has had the least running time, so that none starves. Every item that was queued ends: with its result, with
its error, or without having been run, because its caller left or its deadline passed.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from math import ceil, inf
from types import TracebackType
from typing import Generic, TypeVar

from app.errors import Draining, InternalError
from app.prediction.queue import Completed, Item, Queue

T = TypeVar("T")
R = TypeVar("R")

Runner = Callable[[Sequence[T]], Awaitable[Sequence[R]]]
"""Runs a batch of items and returns as many results, in the same order."""

STOP_POLL_S = 0.2
"""How often `drain` looks whether what it waits for has stalled."""


@dataclass(eq=False, slots=True)
class Batch(Generic[T, R]):
    """Items of one queue that run together since `started`, a time of `time.monotonic`, and the task that runs them."""

    queue: Queue[T, R]
    items: list[Item[T, R]]
    started: float = field(default_factory=time.monotonic)
    task: asyncio.Task[None] | None = None


class Batcher(Generic[T, R]):
    """Runs batches of items, at most `runs` of them at the same time. It belongs to one event loop and needs no lock.

    `run` is given 1 to `max_batch_size` items. If it raises, each item of the batch is run again alone, so that only
    the items at fault get the error. `max_wait_ms` is how long the first item of a batch waits for others while a run
    is free. A run that goes on for longer than `stalled_after_s` is taken to hang. `on_admit` is told of every change
    in the number of slots that are taken.

    `queue` is the first queue, with room for `max_queue` items that are expected to take `first_s` seconds each;
    `add_queue` makes more.
    """

    def __init__(
        self,
        run: Runner[T, R],
        *,
        max_batch_size: int,
        max_queue: int,
        stalled_after_s: float,
        max_wait_ms: float = 0.0,
        runs: int = 1,
        first_s: float = 0.0,
        on_admit: Callable[[int], None] = lambda change: None,
    ) -> None:
        self._run = run
        self._on_admit = on_admit
        self._max_batch_size = max_batch_size
        self._max_queue = max_queue
        self._max_wait_s = max_wait_ms / 1000
        self._runs = runs
        self._stalled_after_s = stalled_after_s
        self.queue: Queue[T, R] = Queue(max_queue, first_s)
        self._queues = [self.queue]
        self._clock_s = 0.0
        self._running: set[Batch[T, R]] = set()
        self._starting = False
        self._timer: asyncio.TimerHandle | None = None
        self._draining = False
        self._freed = asyncio.Event()

    def add_queue(self, first_s: float = 0.0, max_queue: int | None = None) -> Queue[T, R]:
        """Return a new queue, which has room for items of its own and shares the runs with the others.

        The room is for `max_queue` items, or for as many as the first queue has. `first_s` is how many seconds an item
        is expected to run as long as none has been measured.
        """
        queue: Queue[T, R] = Queue(self._max_queue if max_queue is None else max_queue, first_s)
        self._queues.append(queue)
        return queue

    @property
    def stalled(self) -> Queue[T, R] | None:
        """The queue of a run that has gone on for longer than `stalled_after_s`, so that it is taken to hang."""
        longest = min(self._running, key=lambda batch: batch.started, default=None)
        if longest is None or time.monotonic() - longest.started <= self._stalled_after_s:
            return None
        return longest.queue

    @property
    def admitted(self) -> int:
        """How many slots are taken, in all queues."""
        return sum(queue.admitted for queue in self._queues)

    def admit(self, count: int = 1, queue: Queue[T, R] | None = None) -> "Admission[T, R]":
        """Take `count` slots of a queue, either all of them or none.

        Raises `QueueFull`, with a computed `Retry-After`, if there are not as many, or `Draining` after `drain`.
        """
        queue = queue or self.queue
        self._check(count, queue)
        queue.admit(count)
        self._on_admit(count)
        return Admission([Slot(self, queue) for _ in range(count)])

    def check_room(self, queue: Queue[T, R] | None = None) -> None:
        """Raise what `admit` would raise for one item, and take nothing."""
        self._check(1, queue or self.queue)

    def _check(self, count: int, queue: Queue[T, R]) -> None:
        if self._draining:
            raise Draining("the service is stopping", {"Retry-After": "1"})
        queue.check(count)

    def expected_s(self, queue: Queue[T, R]) -> float:
        """Estimate how many seconds one more item would take from its admission to its result.

        It waits for what is ahead of it in its own queue. Of every other queue it waits for no more running time than
        that, because the queues share it equally, and for the batch of that queue that may be running.
        """
        others = (other for other in self._queues if other is not queue)
        ahead = sum(min(other.backlog_s, queue.backlog_s + self._longest_s(other)) for other in others)
        return (queue.backlog_s + ahead) / self._runs + queue.item_s

    def _longest_s(self, queue: Queue[T, R]) -> float:
        return self._max_batch_size * queue.item_s

    async def drain(self) -> None:
        """Admit nothing more, and wait until everything that was admitted has ended, except for a run that hangs."""
        self._draining = True
        self._start_soon()
        while self.admitted and not self.stalled:
            self._freed.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._freed.wait(), STOP_POLL_S)

    def free(self, queue: Queue[T, R]) -> None:
        """Free one slot of a queue."""
        queue.free()
        self._on_admit(-1)
        self._freed.set()

    def enqueue(self, item: Item[T, R], queue: Queue[T, R]) -> None:
        """Put an item that was admitted into its queue."""
        if not queue.items:  # an idle queue earns no credit
            queue.served_s = max(queue.served_s, self._clock_s)
        queue.items.append(item)
        if len(self._running) < self._runs:
            self._start_soon()

    def _start_soon(self) -> None:
        """Start batches in the next turn of the event loop, so that items that arrive together share them."""
        if not self._starting:
            self._starting = True
            asyncio.get_running_loop().call_soon(self._start)

    def _start(self) -> None:
        """Start batches for as long as a run is free and a queue is due."""
        self._starting = False
        while len(self._running) < self._runs and (queue := self._next()) is not None:
            if items := self._pop(queue):
                batch = Batch(queue, items)
                self._running.add(batch)
                batch.task = asyncio.create_task(self._execute(batch))
        if self._max_wait_s and len(self._running) < self._runs:
            self._start_later([self._left_s(queue) for queue in self._queues if queue.items])

    def _start_later(self, waits: Sequence[float]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(min(waits), self._start) if waits else None

    def _next(self) -> Queue[T, R] | None:
        """Return the queue whose turn it is, or None if none is due."""
        due = [queue for queue in self._queues if queue.items and self._due(queue)]
        if not due:
            return None
        queue = min(due, key=lambda queue: queue.served_s)
        self._clock_s = max(self._clock_s, queue.served_s)
        return queue

    def _due(self, queue: Queue[T, R]) -> bool:
        return self._draining or len(queue.items) >= self._max_batch_size or self._left_s(queue) <= 0

    def _left_s(self, queue: Queue[T, R]) -> float:
        # Counted from the arrival of the first item, so that later items do not make it wait longer.
        return queue.items[0].arrived + self._max_wait_s - time.monotonic() if self._max_wait_s else 0.0

    def _pop(self, queue: Queue[T, R]) -> list[Item[T, R]]:
        """Take the next batch out of a queue, without the items that nobody waits for any more."""
        items: list[Item[T, R]] = []
        # An equal share for every run: one batch of all items would leave the other runs idle.
        share = min(self._max_batch_size, ceil(len(queue.items) / self._runs))
        while queue.items and len(items) < share:
            item = queue.items.popleft()
            if item.wanted and time.monotonic() > item.deadline:
                item.expire()
            elif item.wanted:
                item.started = True
                items.append(item)
        return items

    async def _execute(self, batch: Batch[T, R]) -> None:
        await self._run_items(batch.queue, batch.items)
        self._running.discard(batch)
        self._start()

    async def _run_items(self, queue: Queue[T, R], items: list[Item[T, R]]) -> None:
        started = time.monotonic()
        try:
            results = await self._run([item.value for item in items])
            if len(results) != len(items):
                raise RuntimeError(f"{len(results)} results for {len(items)} items")
        except (Exception, SystemExit) as exc:
            queue.charge(time.monotonic() - started)
            await self._isolate(queue, items, exc)
            return
        elapsed = time.monotonic() - started
        queue.served(elapsed, len(items))
        # Results are handed out after the next batch has started, so that a free run does not wait for responses.
        asyncio.get_running_loop().call_soon(_end, items, results, started, elapsed)

    async def _isolate(self, queue: Queue[T, R], items: list[Item[T, R]], exc: BaseException) -> None:
        """Run each item of a batch that failed alone; one that was alone, or that nobody wants any more, has failed."""
        for item in items:
            if len(items) > 1 and item.wanted:
                await self._run_items(queue, [item])
            else:
                item.end(exc if isinstance(exc, Exception) else InternalError("the model stopped"))


def _end(items: Sequence[Item[T, R]], results: Sequence[R], started: float, elapsed: float) -> None:
    for item, result in zip(items, results, strict=True):
        item.end(Completed(result, (started - item.arrived) * 1000, elapsed * 1000, len(items)))


class Slot(Generic[T, R]):
    """Room for one item, which is taken from its admission until all work on it has ended."""

    def __init__(self, batcher: Batcher[T, R], queue: Queue[T, R]) -> None:
        self._batcher = batcher
        self._queue = queue
        self._item: Item[T, R] | None = None

    async def submit(self, value: T, *, deadline: float = inf) -> Completed[R]:
        """Queue an item and wait for its result. If the caller is cancelled before the item runs, it is not run.

        `deadline` is a time of `time.monotonic`. Raises `DeadlineExceeded` when it passes, or whatever `run` raises for
        this item.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Completed[R] | Exception] = loop.create_future()
        arrived = time.monotonic()
        self._item = item = Item(value, deadline, arrived, future)
        self._batcher.enqueue(item, self._queue)
        timer = None if deadline == inf else loop.call_later(deadline - arrived, item.expire)
        try:
            answer = await future
        finally:
            if timer is not None:
                timer.cancel()
            if not item.started:
                self._queue.remove(item)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def withdraw(self) -> bool:
        """Take the item back; return whether it will not be run."""
        return self._item is None or self._item.withdraw()

    def close(self) -> None:
        """Free the room: now, or, if the item is being run, when that ends, since a run cannot be stopped."""
        if self._item is None or not self._item.running:
            self._free()
        else:
            self._item.on_end = self._free

    def _free(self) -> None:
        self._batcher.free(self._queue)


class Admission(Generic[T, R]):
    """The slots of one request, which are closed when the context is left."""

    def __init__(self, slots: list[Slot[T, R]]) -> None:
        self._slots = slots

    def __enter__(self) -> list[Slot[T, R]]:
        return self._slots

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        for slot in self._slots:
            slot.close()
