"""Work on a thread beside the event loop."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from app.errors import StartError
from app.machine import no_room

T = TypeVar("T")


async def in_thread(work: Callable[[], T]) -> T:
    """Do work on a thread; return what it returns, or raise what it raises.

    Raises `StartError` if the system has no room for another thread.

    The thread is a daemon made for this work. A process waits at its end for the threads of an executor, even for one
    that hangs.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Callable[[], T]] = loop.create_future()

    def settle(outcome: Callable[[], T]) -> None:
        if not future.done():
            future.set_result(outcome)

    def run() -> None:
        outcome = _outcome(work)
        with suppress(RuntimeError):  # the event loop was closed meanwhile
            loop.call_soon_threadsafe(settle, outcome)

    try:
        threading.Thread(target=run, name="model", daemon=True).start()
    except RuntimeError as exc:
        raise StartError(f"a thread cannot be started: {no_room(exc)}") from exc
    return (await future)()


def _outcome(work: Callable[[], T]) -> Callable[[], T]:
    try:
        result = work()
    except BaseException as exc:  # SystemExit too: it would end the thread, and the caller would wait for ever
        error = exc
    else:
        return lambda: result

    def fail() -> T:
        raise error

    return fail
