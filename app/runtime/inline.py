"""The pipeline in the process that takes requests, between its events: `docs/decisions/0020` says for whom.

An image that waits for no other process is answered for the least work. The price is that whatever ends the work, a
decoder that crashes or a model that hangs, ends the process, so that there should be several.
"""

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import TypeVar

from app.mobilenet.variants import Variant
from app.runtime.pipeline import Compared, Comparison, Input, Local, Outcomes, Payload

T = TypeVar("T")


class Inline:
    """A pipeline that keeps the event loop waiting for one image at a time, and for large ones not at all."""

    runs = 1
    fault: str | None = None

    def __init__(self, local: Local, patience_s: float) -> None:
        """End the process when one image takes more than `patience_s`: nothing else could stop a model that hangs."""
        self.models = local.models
        self._local = local
        self._patience_s = patience_s

    async def run(self, payloads: Sequence[Payload], large: bool = False, variant: Variant | None = None) -> Outcomes:
        """Classify, as `Local` does."""
        variants = (self._local.model(variant).variant,)
        wanted = [Comparison(payload, variants) for payload in payloads]
        return await self._in_turn(wanted, large, lambda _, decoded: self._local.answer([decoded], variant))

    async def compare(self, wanted: Sequence[Comparison], large: bool = False) -> Compared:
        """Classify, as `Local` does."""
        return await self._in_turn(wanted, large, lambda one, decoded: self._local.answer_each([one], [decoded]))

    async def _in_turn(
        self, wanted: Sequence[Comparison], large: bool, answer: Callable[[Comparison, Input], list[T]]
    ) -> list[T]:
        found: list[T] = []
        for one in wanted:
            if found:
                await asyncio.sleep(0)  # meanwhile requests are read and answers leave
            decoded = await in_thread(partial(self._local.decode, *one, large=True)) if large else None
            with self._watched():
                found += answer(one, decoded or self._local.decode(*one))
        return found

    @contextmanager
    def _watched(self) -> Iterator[None]:
        # Nobody handles SIGALRM: it ends the process, even one whose interpreter hangs.
        signal.setitimer(signal.ITIMER_REAL, self._patience_s)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)

    async def preview(self, payload: Payload, resolution: int) -> bytes:
        """Draw, as `Local` does."""
        return await in_thread(lambda: self._local.preview(payload, resolution))

    async def close(self) -> None:
        """Nothing is held."""


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
