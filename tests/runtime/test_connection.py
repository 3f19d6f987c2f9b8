"""A worker that says nothing for long enough is given up; time in which all processes stood still does not count."""

import asyncio
import os
import socket

import pytest

from app.runtime import area, replies
from app.runtime.area import Area
from app.runtime.connection import Connection
from app.runtime.faults import WorkerHung
from app.runtime.pipeline import Job
from app.runtime.replies import Reader
from app.runtime.requests import Request
from app.runtime.watchdog import TICKS

PATIENCE_S = 60.0
REPLY = replies.PNG_MAGIC + b"and a picture"


class Clock:
    """The clock of the running loop, which goes on while a container is paused."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._paused_s = 0.0
        loop = asyncio.get_running_loop()
        clock = loop.time
        monkeypatch.setattr(loop, "time", lambda: clock() + self._paused_s)

    async def pause(self) -> None:
        """Go on for longer than the patience at once, and then give the loop some turns."""
        self._paused_s += 10 * PATIENCE_S
        for _ in range(5):
            await asyncio.sleep(0)


def ask(connection: socket.socket) -> "asyncio.Task[replies.Body]":
    """Ask whoever is at the other end for a preview."""
    descriptor = area.new()
    worker = Connection(connection, Area(descriptor))
    os.close(descriptor)
    reader = Reader(Request([Job(b"", ())], resolution=32), [])
    return asyncio.create_task(worker.ask([b"asked"], reader, PATIENCE_S))


async def test_a_pause_of_all_processes_is_not_a_hang_of_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        asking = ask(ours)
        await asyncio.sleep(0)
        await clock.pause()
        theirs.sendall(replies.pack_png(REPLY))
        assert await asking == REPLY


async def test_a_worker_that_hangs_is_given_up_after_as_many_ticks_as_the_patience_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock(monkeypatch)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        asking = ask(ours)
        await asyncio.sleep(0)
        for _ in range(TICKS):
            assert not asking.done()
            await clock.pause()
        with pytest.raises(WorkerHung, match="a worker has hung for 60 s and is replaced"):
            await asking
