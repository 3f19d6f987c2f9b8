"""Work in a process of its own, of which nothing remains here but the result: no threads and no libraries."""

import os
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from app.errors import StartError
from app.machine import no_room
from app.runtime import handshake

T = TypeVar("T")


def elsewhere(work: Callable[[], T]) -> T:
    """Do work in a forked process; return what it returns, pickled on its way, or raise what it raises.

    This process must have a single thread. Raises `StartError` if there is no room for another process, or if that one
    ends in the middle of its work. If this process is to end meanwhile, the other one is asked to end first.
    """
    ours, theirs = socket.socketpair()
    with ours:
        try:
            process = os.fork()
        except OSError as exc:
            theirs.close()
            raise StartError(f"the process that tests the model cannot be started: {no_room(exc)}") from exc
        if process == 0:
            ours.close()
            _work(work, theirs)
        theirs.close()
        raised, answer = _answer(ours, process)
    if raised:
        raise answer
    result: T = answer
    return result


def _work(work: Callable[[], T], to: socket.socket) -> None:
    """Send what comes of the work, and end this process."""
    try:
        handshake.send(to, (False, work()))
    except Exception as exc:
        with suppress(OSError):
            handshake.send(to, (True, exc))
    finally:
        os._exit(0)


def _answer(sender: socket.socket, process: int) -> tuple[bool, Any]:
    try:
        answer: tuple[bool, Any] = handshake.receive(sender)
    except EOFError as exc:
        raise StartError(
            "the process that tests the model ended before it was done; was there too little memory?"
        ) from exc
    finally:
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGTERM)  # it has ended, or is about to, unless this process is to end
        os.waitpid(process, 0)
    return answer
