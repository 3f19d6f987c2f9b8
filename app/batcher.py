"""Dynamic batching on a few threads: admit, batch, fan out, drain. Knows neither images nor TensorFlow.

Idle, it runs at once; busy, it takes its share of what queued up meanwhile, up to `max_batch_size`. Whatever is queued
ends: with its result, its error, or dropped unrun because its caller left or its deadline passed.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from math import ceil, inf
from types import TracebackType
from typing import Generic, ParamSpec, TypeVar

from app.errors import DeadlineExceeded, Draining, InternalError, QueueFull

T = TypeVar("T")
R = TypeVar("R")
P = ParamSpec("P")
V = TypeVar("V")

MEASURED = 64
"""How many slots that were freed last tell how fast slots become free."""
STOP_POLL_S = 0.2


@dataclass(frozen=True, slots=True)
class Answer(Generic[R]):
    """The result of one item, how long it waited, how long its batch ran, and how many items ran in it."""

    result: R
    queue_ms: float
    run_ms: float
    batch_size: int


@dataclass(slots=True)
class _Item(Generic[T, R]):
    value: T
    deadline: float
    arrived: float
    future: Future[Answer[R]]


class Batcher(Generic[T, R]):
    """Runs `run` on batches of items, on `threads` threads of its own.

    `run` takes a sequence of 1 to `max_batch_size` items and returns as many results, in order. If it raises, the
    items of its batch are run again one by one, so that only those at fault get the error.
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
    ) -> None:
        self._run = run
        self._max_batch_size = max_batch_size
        self._max_queue = max_queue
        self._max_wait_s = max_wait_ms / 1000
        self._queue: deque[_Item[T, R]] = deque()
        self._admitted = 0
        self._stalled_after_s = stalled_after_s
        self._running: dict[int, float] = {}
        self._busy_since = 0.0
        self._freed: deque[float] = deque(maxlen=MEASURED)
        self._draining = False
        self._stopped = False
        self._lock = threading.Lock()
        self._filled = threading.Condition(self._lock)
        self._emptied = threading.Condition(self._lock)
        names = (f"batcher-{number}" for number in range(threads))
        self._threads = [threading.Thread(target=self._loop, name=name, daemon=True) for name in names]
        for thread in self._threads:
            thread.start()

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
        return self._admitted

    def admit(self, count: int = 1) -> "Admission[T, R]":
        """Take `count` slots, all or none, before any work is done.

        Raises `QueueFull` with the computed `Retry-After` where there is no room, `Draining` after `drain`.
        """
        with self._lock:
            self._check(count)
            if not self._admitted:
                self._busy_since = time.monotonic()
                self._freed.clear()
            self._admitted += count
        return Admission([Slot(self) for _ in range(count)])

    def check_room(self) -> None:
        """Raise what `admit` would raise, and admit nothing."""
        with self._lock:
            self._check(1)

    def _check(self, count: int) -> None:
        if self._draining:
            raise Draining("the service is stopping", {"Retry-After": "1"})
        if self._admitted + count > self._max_queue:
            raise self._full(count)

    def _full(self, count: int) -> QueueFull:
        wait_s = self._admitted * self._seconds_a_slot()
        detail = (
            f"{self._admitted} of {self._max_queue} places are taken and {count} more are asked for; "
            f"they clear in about {wait_s:.2g} s"
        )
        facts = {"queue_depth": self._admitted, "estimated_wait_ms": round(wait_s * 1000)}
        return QueueFull(detail, {"Retry-After": str(max(1, ceil(wait_s)))}, facts)

    def _seconds_a_slot(self) -> float:
        """Return how long a slot takes to become free, over the last ones of this busy time; 0 if none has yet."""
        if not self._freed:
            return 0.0
        since = self._freed[0] if len(self._freed) == MEASURED else self._busy_since
        return (time.monotonic() - since) / len(self._freed)

    async def drain(self) -> None:
        """Admit no more, finish all that was admitted, then end the thread."""
        with self._lock:
            self._draining = True
        await asyncio.to_thread(self._stop)

    def _stop(self) -> None:
        with self._lock:
            while not self._emptied.wait_for(lambda: self._admitted == 0 or self._stopped, STOP_POLL_S):
                if self.stalled:
                    break
            self._stopped = True
            self._filled.notify_all()
        if not self.stalled:
            for thread in self._threads:
                thread.join()

    def _free(self, _: object = None) -> None:
        with self._lock:
            self._admitted -= 1
            self._freed.append(time.monotonic())
            if not self._admitted:
                self._emptied.notify_all()

    def _enqueue(self, item: _Item[T, R]) -> None:
        with self._lock:
            if self._stopped:
                raise InternalError("the model stopped")
            self._queue.append(item)
            self._filled.notify()

    def _loop(self) -> None:
        try:
            while (batch := self._take()) is not None:
                self._execute(batch)
        finally:
            self._abandon()

    def _abandon(self) -> None:
        # Items are left only if a thread dies: even then nobody waits for ever.
        with self._lock:
            self._stopped = True
            self._filled.notify_all()
            self._emptied.notify_all()
            left, self._queue = self._queue, deque()
        _fail([item for item in left if item.future.set_running_or_notify_cancel()])

    def _take(self) -> list[_Item[T, R]] | None:
        """Wait for items and return those of the next batch that are still wanted; None when stopped."""
        with self._lock:
            while not self._due():
                if self._stopped and not self._queue:
                    return None
                self._filled.wait(self._wait_s())
            batch, late = self._pop()
        # Not under the lock: failing an item runs the callbacks of its future, and those free slots.
        for item in late:
            item.future.set_exception(DeadlineExceeded("the deadline passed in the queue; the image was not run"))
        return batch

    def _due(self) -> bool:
        full = self._stopped or len(self._queue) >= self._max_batch_size
        return bool(self._queue) and (full or self._wait_s() == 0)

    def _wait_s(self) -> float | None:
        # The wait counts from the arrival of the first item, so a batch is never late for want of company.
        return max(0.0, self._queue[0].arrived + self._max_wait_s - time.monotonic()) if self._queue else None

    def _pop(self) -> tuple[list[_Item[T, R]], list[_Item[T, R]]]:
        batch: list[_Item[T, R]] = []
        late: list[_Item[T, R]] = []
        # A share, because the other threads take theirs: a batch of all would leave them idle.
        share = min(self._max_batch_size, ceil(len(self._queue) / len(self._threads)))
        while self._queue and len(batch) < share:
            item = self._queue.popleft()
            if item.future.set_running_or_notify_cancel():
                (late if time.monotonic() > item.deadline else batch).append(item)
        return batch, late

    def _execute(self, batch: list[_Item[T, R]]) -> None:
        if not batch:
            return
        started = self._running[threading.get_ident()] = time.monotonic()
        try:
            results = list(self._run([item.value for item in batch]))
            if len(results) != len(batch):
                raise RuntimeError(f"{len(results)} results for {len(batch)} items")
        except Exception as exc:
            self._isolate(batch, exc)
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

    def _isolate(self, batch: list[_Item[T, R]], exc: Exception) -> None:
        if len(batch) == 1:
            batch[0].future.set_exception(exc)
            return
        for item in batch:
            self._execute([item])


def _fail(items: Iterable[_Item[T, R]]) -> None:
    for item in items:
        item.future.set_exception(InternalError("the model stopped"))


class Slot(Generic[T, R]):
    """Room for one item, from its admission until its work really ended."""

    def __init__(self, batcher: Batcher[T, R]) -> None:
        self._batcher = batcher
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
        item: _Item[T, R] = _Item(value, deadline, time.monotonic(), Future())
        self._batcher._enqueue(item)
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
            self._batcher._free()
        else:
            self._job.add_done_callback(self._batcher._free)


class Admission(Generic[T, R]):
    """The slots of one request; leaving the context closes them."""

    def __init__(self, slots: list[Slot[T, R]]) -> None:
        self._slots = slots

    def __enter__(self) -> list[Slot[T, R]]:
        return self._slots

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        for slot in self._slots:
            slot.close()
