"""Work on a thread beside the event loop."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
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
    future: Future[T] = Future()
    future.set_running_or_notify_cancel()  # whoever gives up cannot take the work back, and its result is then dropped
    try:
        threading.Thread(target=_settle, args=(future, work), name="model", daemon=True).start()
    except RuntimeError as exc:
        raise StartError(f"a thread cannot be started: {no_room(exc)}") from exc
    return await asyncio.wrap_future(future)


def _settle(future: "Future[T]", work: Callable[[], T]) -> None:
    try:
        future.set_result(work())
    except BaseException as exc:  # SystemExit too: it would end the thread, and the caller would wait for ever
        future.set_exception(exc)
