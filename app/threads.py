"""The pipeline on threads of this process, for an engine that does not survive a fork: TensorFlow's."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TypeVar

from app.mobilenet.variants import Variant
from app.pipeline import Compared, Comparison, Local, Outcomes, Payload

T = TypeVar("T")


class Threads:
    """A pipeline that runs each batch on a thread made for it."""

    runs = 1
    fault: str | None = None

    def __init__(self, local: Local) -> None:
        self.models = local.models
        self._local = local

    async def run(self, payloads: Sequence[Payload], large: bool = False, variant: Variant | None = None) -> Outcomes:
        """Classify, as `Local` does."""
        return await in_thread(lambda: self._local.run(payloads, large, variant))

    async def compare(self, wanted: Sequence[Comparison], large: bool = False) -> Compared:
        """Classify, as `Local` does."""
        return await in_thread(lambda: self._local.compare(wanted, large))

    async def preview(self, payload: Payload, resolution: int) -> bytes:
        """Draw, as `Local` does."""
        return await in_thread(lambda: self._local.preview(payload, resolution))

    async def close(self) -> None:
        """Nothing is held."""


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
