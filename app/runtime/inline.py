"""The pipeline in the process that takes requests, between its events: `docs/decisions/0020` says for whom.

An image that waits for no other process is answered for the least work. The price is that whatever ends the work, a
decoder that crashes or a model that hangs, ends the process, so that there should be several.
"""

import asyncio
import logging
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import TypeVar

from app.runtime.pipeline import Job, JobResult, Local, Payload

logger = logging.getLogger(__name__)

T = TypeVar("T")


class Inline:
    """A pipeline in the event loop itself, which waits for one image at a time; large ones are decoded on a thread."""

    runs = 1
    fault: str | None = None

    def __init__(self, local: Local, patience_s: float) -> None:
        """End the process when one image takes more than `patience_s`: nothing else could stop a model that hangs."""
        self.models = local.models
        self._local = local
        self._patience_s = patience_s

    async def run(self, jobs: Sequence[Job], large: bool = False) -> list[JobResult]:
        """Classify the images of a batch one by one; otherwise as `Local.run`."""
        results: list[JobResult] = []
        for job in jobs:
            if results:
                await asyncio.sleep(0)  # requests are read and responses are sent between two images
            decoding = await self._beside(partial(self._local.decode, job, large=True)) if large else None
            with self._watched():
                results += self._local.classify([decoding or self._local.decode(job)])
        return results

    @contextmanager
    def _watched(self) -> Iterator[None]:
        # Nobody handles SIGALRM, so it ends the process, even one whose interpreter hangs.
        signal.setitimer(signal.ITIMER_REAL, self._patience_s)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)

    async def preview(self, payload: Payload, resolution: int) -> bytes:
        """Draw the network's input, as `Local.preview` does."""
        return await self._beside(partial(self._local.preview, payload, resolution))

    async def _beside(self, work: Callable[[], T]) -> T:
        alarm = asyncio.get_running_loop().call_later(self._patience_s, self._end)
        try:
            return await in_thread(work)
        finally:
            alarm.cancel()

    def _end(self) -> None:
        logger.error("an image has been decoded for more than %g s; the process ends", self._patience_s)
        signal.raise_signal(signal.SIGALRM)

    async def close(self) -> None:
        """Do nothing: no process and no thread is held."""


class Threads:
    """A pipeline that runs each batch on a thread of its own, for TensorFlow."""

    runs = 1
    fault: str | None = None

    def __init__(self, local: Local) -> None:
        self.models = local.models
        self._local = local

    async def run(self, jobs: Sequence[Job], large: bool = False) -> list[JobResult]:
        """Classify the images of a batch, as `Local.run` does."""
        return await in_thread(partial(self._local.run, jobs, large))

    async def preview(self, payload: Payload, resolution: int) -> bytes:
        """Draw the network's input, as `Local.preview` does."""
        return await in_thread(partial(self._local.preview, payload, resolution))

    async def close(self) -> None:
        """Do nothing: no process and no thread is held."""


async def in_thread(work: Callable[[], T]) -> T:
    """Return what `work` returns, or raise what it raises.

    The thread is no executor's: the process would wait for those when it ends, even for one that hangs.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Callable[[], T]] = loop.create_future()

    def settle(outcome: Callable[[], T]) -> None:
        if not future.done():
            future.set_result(outcome)

    def run() -> None:
        outcome = _outcome(work)
        with suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(settle, outcome)

    threading.Thread(target=run, name="model", daemon=True).start()
    return (await future)()


def _outcome(work: Callable[[], T]) -> Callable[[], T]:
    try:
        result = work()
    except BaseException as exc:  # SystemExit too would end the thread, and somebody would wait for ever
        error = exc
    else:
        return lambda: result

    def fail() -> T:
        raise error

    return fail
