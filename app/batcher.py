"""Dynamic batching on a few threads: admit, batch, fan out, drain. Knows neither images nor TensorFlow.

Idle, it runs at once; busy, it takes its share of what queued up meanwhile, up to `max_batch_size`. Whatever is queued
ends: with its result, its error, or dropped unrun because its caller left or its deadline passed. A batch is of one
lane; of several that wait, the one that had the least of the threads' time is next, so that none starves.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor, Future
from math import ceil, inf
from types import TracebackType
from typing import Generic, ParamSpec, TypeVar

from app.errors import DeadlineExceeded, Draining, InternalError
from app.lanes import Answer, Item, Lane

T = TypeVar("T")
R = TypeVar("R")
P = ParamSpec("P")
V = TypeVar("V")

STOP_POLL_S = 0.2


class Batcher(Generic[T, R]):
    """Runs `run` on batches of items, on `threads` threads of its own.

    `run` takes a sequence of 1 to `max_batch_size` items and returns as many results, in order. If it raises, the
    items of its batch are run again one by one, so that only those at fault get the error. `lane` is the queue of
    these; `add` makes others. `on_admit` is told by how much the number of slots that are taken changes.
    """

    def __init__(
        self,
        run: Callable[[Sequence[T]], Iterable[R]],
        *,
        max_batch_size: int,
        max_queue: int,
        max_wait_ms: float = 0.0,
        threads: int = 1,
        stalled_after_s: float = inf,
        first_s: float = 0.0,
        on_admit: Callable[[int], None] = lambda change: None,
    ) -> None:
        self._on_admit = on_admit
        self._max_batch_size = max_batch_size
        self._max_queue = max_queue
        self._max_wait_s = max_wait_ms / 1000
        self.lane: Lane[T, R] = Lane(run, max_queue, first_s)
        self._lanes = [self.lane]
        self._clock_s = 0.0
        self._stalled_after_s = stalled_after_s
        self._running: dict[int, float] = {}
        self._draining = False
        self._stopped = False
        self._lock = threading.Lock()
        self._filled = threading.Condition(self._lock)
        self._emptied = threading.Condition(self._lock)
        names = (f"batcher-{number}" for number in range(threads))
        self._threads = [threading.Thread(target=self._loop, name=name, daemon=True) for name in names]
        for thread in self._threads:
            thread.start()

    def add(self, run: Callable[[Sequence[T]], Iterable[R]], first_s: float = 0.0) -> Lane[T, R]:
        """Return a new lane: a queue of `max_queue` items of its own, for the same threads.

        `first_s` is how long an item is taken to run before any has.
        """
        lane = Lane(run, self._max_queue, first_s)
        self._lanes.append(lane)
        return lane

    @property
    def alive(self) -> bool:
        """Whether the threads that run the batches live."""
        return not self._stopped and all(thread.is_alive() for thread in self._threads)

    @property
    def stalled(self) -> bool:
        """Whether one run has gone on for more than `stalled_after_s`: it will hardly end."""
        since = min(tuple(self._running.values()), default=inf)
        return time.monotonic() - since > self._stalled_after_s

    @property
    def admitted(self) -> int:
        """How many slots are taken."""
        return sum(lane.admitted for lane in self._lanes)

    def admit(self, count: int = 1, lane: Lane[T, R] | None = None) -> "Admission[T, R]":
        """Take `count` slots of a lane, all or none, before any work is done.

        Raises `QueueFull` with the computed `Retry-After` where there is no room, `Draining` after `drain`.
        """
        lane = lane or self.lane
        with self._lock:
            self._check(count, lane)
            lane.admit(count)
            self._on_admit(count)
        return Admission([Slot(self, lane) for _ in range(count)])

    def check_room(self, lane: Lane[T, R] | None = None) -> None:
        """Raise what `admit` would raise, and admit nothing."""
        with self._lock:
            self._check(1, lane or self.lane)

    def _check(self, count: int, lane: Lane[T, R]) -> None:
        if self._draining:
            raise Draining("the service is stopping", {"Retry-After": "1"})
        lane.check(count)

    def expected_s(self, lane: Lane[T, R]) -> float:
        """Estimate how long one more item would take from its admission to its answer.

        The other lanes get no more of the threads' time meanwhile than this one, but for what is being run.
        """
        with self._lock:
            others = (other for other in self._lanes if other is not lane)
            ahead = sum(min(other.backlog_s, lane.backlog_s + self._longest_s(other)) for other in others)
            return (lane.backlog_s + ahead) / len(self._threads) + lane.item_s

    def _longest_s(self, lane: Lane[T, R]) -> float:
        return self._max_batch_size * lane.item_s

    async def drain(self) -> None:
        """Admit no more, finish all that was admitted, then end the thread."""
        with self._lock:
            self._draining = True
        await asyncio.to_thread(self._stop)

    def _stop(self) -> None:
        with self._lock:
            while not self._emptied.wait_for(lambda: self.admitted == 0 or self._stopped, STOP_POLL_S):
                if self.stalled:
                    break
            self._stopped = True
            self._filled.notify_all()
        if not self.stalled:
            for thread in self._threads:
                thread.join()

    def _free(self, lane: Lane[T, R]) -> None:
        with self._lock:
            lane.free()
            self._on_admit(-1)
            if not self.admitted:
                self._emptied.notify_all()

    def _enqueue(self, item: Item[T, R], lane: Lane[T, R]) -> None:
        with self._lock:
            if self._stopped:
                raise InternalError("the model stopped")
            if not lane.items:  # while it was empty it saved nothing up
                lane.served_s = max(lane.served_s, self._clock_s)
            lane.items.append(item)
            self._filled.notify()

    def _loop(self) -> None:
        try:
            while (taken := self._take()) is not None:
                self._execute(*taken)
        finally:
            self._abandon()

    def _abandon(self) -> None:
        # Items are left only if a thread dies: even then nobody waits for ever.
        with self._lock:
            self._stopped = True
            self._filled.notify_all()
            self._emptied.notify_all()
            left = [item for lane in self._lanes for item in lane.items]
            for lane in self._lanes:
                lane.items.clear()
        _fail([item for item in left if item.future.set_running_or_notify_cancel()])

    def _take(self) -> tuple[Lane[T, R], list[Item[T, R]]] | None:
        """Wait for items and return those of the next batch that are still wanted; None when stopped."""
        with self._lock:
            while (lane := self._next()) is None:
                if self._stopped:
                    return None
                self._filled.wait(self._wait_s())
            batch, late = self._pop(lane)
        # Not under the lock: failing an item runs the callbacks of its future, and those free slots.
        for item in late:
            item.future.set_exception(DeadlineExceeded("the deadline passed in the queue; the image was not run"))
        return lane, batch

    def _next(self) -> Lane[T, R] | None:
        """Return the lane whose turn it is, of those that are due."""
        due = [lane for lane in self._lanes if lane.items and self._due(lane)]
        if not due:
            return None
        lane = min(due, key=lambda lane: lane.served_s)
        self._clock_s = max(self._clock_s, lane.served_s)
        return lane

    def _due(self, lane: Lane[T, R]) -> bool:
        return self._stopped or len(lane.items) >= self._max_batch_size or self._left_s(lane) == 0

    def _wait_s(self) -> float | None:
        return min((self._left_s(lane) for lane in self._lanes if lane.items), default=None)

    def _left_s(self, lane: Lane[T, R]) -> float:
        # The wait counts from the arrival of the first item, so a batch is never late for want of company.
        return max(0.0, lane.items[0].arrived + self._max_wait_s - time.monotonic())

    def _pop(self, lane: Lane[T, R]) -> tuple[list[Item[T, R]], list[Item[T, R]]]:
        batch: list[Item[T, R]] = []
        late: list[Item[T, R]] = []
        # A share, because the other threads take theirs: a batch of all would leave them idle.
        share = min(self._max_batch_size, ceil(len(lane.items) / len(self._threads)))
        while lane.items and len(batch) < share:
            item = lane.items.popleft()
            if item.future.set_running_or_notify_cancel():
                (late if time.monotonic() > item.deadline else batch).append(item)
        return batch, late

    def _execute(self, lane: Lane[T, R], batch: list[Item[T, R]]) -> None:
        if not batch:
            return
        started = self._running[threading.get_ident()] = time.monotonic()
        try:
            results = list(lane.run([item.value for item in batch]))
            if len(results) != len(batch):
                raise RuntimeError(f"{len(results)} results for {len(batch)} items")
        except Exception as exc:
            self._isolate(lane, batch, exc)
            return
        except BaseException:
            _fail(batch)
            raise
        finally:
            self._running.pop(threading.get_ident(), None)
        elapsed = time.monotonic() - started
        for item, result in zip(batch, results, strict=True):
            queue_ms = (started - item.arrived) * 1000
            item.future.set_result(Answer(result, queue_ms, elapsed * 1000, len(batch)))
        with self._lock:
            lane.served(elapsed, len(batch))

    def _isolate(self, lane: Lane[T, R], batch: list[Item[T, R]], exc: Exception) -> None:
        if len(batch) == 1:
            batch[0].future.set_exception(exc)
            return
        for item in batch:
            self._execute(lane, [item])


def _fail(items: Iterable[Item[T, R]]) -> None:
    for item in items:
        item.future.set_exception(InternalError("the model stopped"))


class Slot(Generic[T, R]):
    """Room for one item, from its admission until its work really ended."""

    def __init__(self, batcher: Batcher[T, R], lane: Lane[T, R]) -> None:
        self._batcher = batcher
        self._lane = lane
        self._job: Future[object] | None = None
        self._item: Future[Answer[R]] | None = None

    async def call(self, executor: Executor, function: Callable[P, V], *args: P.args, **kwargs: P.kwargs) -> V:
        """Run a function in the executor on behalf of this item, such as what prepares it."""
        job = executor.submit(function, *args, **kwargs)
        return await self._wait(job)

    async def submit(self, value: T, *, deadline: float = float("inf")) -> Answer[R]:
        """Queue an item and wait for its answer. Cancelled while it is queued, the item is never run.

        `deadline` is a time of `time.monotonic`. Raises `DeadlineExceeded` for an item that would be taken later,
        and whatever `run` raised for this item.
        """
        item: Item[T, R] = Item(value, deadline, time.monotonic(), Future())
        self._batcher._enqueue(item, self._lane)
        self._item = item.future
        return await self._wait(item.future)

    async def _wait(self, job: Future[V]) -> V:
        self._job = job  # type: ignore[assignment]
        return await asyncio.wrap_future(job)

    def withdraw(self) -> bool:
        """Take the item back; return whether that spared its run."""
        return self._item is None or self._item.cancel()

    def close(self) -> None:
        """Free the room: now, or when the work that cannot be stopped any more ends."""
        if self._job is None:
            self._batcher._free(self._lane)
        else:
            self._job.add_done_callback(lambda _: self._batcher._free(self._lane))


class Admission(Generic[T, R]):
    """The slots of one request; leaving the context closes them."""

    def __init__(self, slots: list[Slot[T, R]]) -> None:
        self._slots = slots

    def __enter__(self) -> list[Slot[T, R]]:
        return self._slots

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        for slot in self._slots:
            slot.close()
