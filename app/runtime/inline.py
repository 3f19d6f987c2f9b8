"""Pipelines in the HTTP process: `Inline`, between the events of its loop, and `Threads`, on threads beside the loop.

An image that is not sent to another process costs the least work. In return, a decoder that crashes or a model that
hangs takes the whole HTTP process with it, so there should be several of these processes (decision 0020).
"""

import asyncio
import logging
import signal
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from app.runtime.heartbeat import Heartbeat
from app.runtime.local import Local
from app.runtime.pipeline import Job, JobResult, Overlay, Payload
from app.runtime.thread import in_thread
from app.runtime.watchdog import TICKS

logger = logging.getLogger(__name__)

T = TypeVar("T")


class Inline:
    """A pipeline that runs one image after the other in the event loop; large images are decoded on a thread."""

    runs = 1

    def __init__(self, local: Local, patience_s: float) -> None:
        """End the process if one image takes longer than `patience_s`, since nothing else can stop one that hangs.

        Raises `StartError` if the process that watches over this one cannot be started.
        """
        self.models = local.models
        self._local = local
        self._patience_s = patience_s
        self._heartbeat = Heartbeat(patience_s)

    @property
    def fault(self) -> str | None:
        """Why a hang would not be noticed any more; None if all is well."""
        return self._heartbeat.fault

    async def run(self, jobs: Sequence[Job], large: bool = False) -> list[JobResult]:
        """Classify the images of a batch one by one; otherwise as `Local.run`."""
        self._heartbeat.begin()
        results: list[JobResult] = []
        for job in jobs:
            if results:
                await asyncio.sleep(0)  # requests are read and responses are sent between two images
            decoding = await self._beside(partial(self._local.decode, job, large=True)) if large else None
            results += self._local.classify([decoding or self._local.decode(job)])
        return results

    async def preview(self, payload: Payload, resolution: int, over: Overlay | None = None) -> bytes:
        """Draw the network's input, as `Local.preview` does."""
        self._heartbeat.begin()
        return await self._beside(partial(self._local.preview, payload, resolution, over))

    async def _beside(self, work: Callable[[], T]) -> T:
        """Do work on a thread, with the same patience, which is counted as the watchdog counts it."""
        working = asyncio.create_task(in_thread(work))
        try:
            for _ in range(TICKS):
                if (await asyncio.wait([working], timeout=self._patience_s / TICKS))[0]:
                    break
            else:
                self._end()
            return await working
        finally:
            working.cancel()

    def _end(self) -> None:
        logger.error("an image has been decoded for more than %g s; this process ends", self._patience_s)
        signal.raise_signal(signal.SIGALRM)

    async def close(self) -> None:
        """End the process that watches over this one."""
        self._heartbeat.close()


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

    async def preview(self, payload: Payload, resolution: int, over: Overlay | None = None) -> bytes:
        """Draw the network's input, as `Local.preview` does."""
        return await in_thread(partial(self._local.preview, payload, resolution, over))

    async def close(self) -> None:
        """Do nothing: no process and no thread is held."""
