"""The process in front of several HTTP processes: it has them forked, replaces those that end, and stops them.

It does nothing for a request but accept its connection (`app.server.acceptor`). It tells a process to stop by closing
the channel of the process. That loses no connection, and happens as well if this process is killed.
"""

import asyncio
import logging
import signal
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path

from app.control import heeding
from app.errors import BAD_START, StartError
from app.machine import no_room
from app.observability.metrics import Metrics
from app.observability.snapshots import Snapshots, forget
from app.reload import Outcome, Reloads
from app.server.acceptor import WELL_S, Acceptor
from app.server.process import HttpProcess
from app.server.template import FAILED, Template

logger = logging.getLogger(__name__)

RETRY_S = 1.0
"""Seconds before another process is started in place of one that could not be started or did not get ready."""
QUIET_S = 3.0
"""Seconds of saying nothing after which a process gets no connections until it speaks, if there is another."""
HANG_S = 30.0
"""Seconds for which a process may say nothing once it was ready. To get ready it may take any time."""
KILL_S = 3.0
"""Seconds that a process has to end, beyond those that it waits for its requests."""


class Supervisor:
    """Keeps a number of HTTP processes running until SIGTERM or SIGINT, and has them reload, one after the other."""

    def __init__(self, template: Template, folder: Path, graceful_timeout_s: float) -> None:
        """Take what forks the processes, and the folder in which each process gets a file to count in."""
        self._template = template
        self._folder = folder
        self._end_s = graceful_timeout_s + KILL_S
        self._started = 0
        self._processes: list[HttpProcess] = []
        self._metrics = Metrics(Snapshots(folder / "0"))
        self._begun = asyncio.Event()
        """Set once a process is ready, or none will be."""
        self._stopping = asyncio.Event()
        self._exit_code = 0

    async def run(self, listener: socket.socket, count: int, when_ready: Callable[[], None] = lambda: None) -> int:
        """Serve connections to the listener in `count` processes. Return the exit code.

        The first process alone finds out whether the models can be loaded, and compiles those that have to be. The
        others start when it is ready, and `when_ready` is called then.
        """
        self._acceptor = Acceptor(listener, self._fail)
        self._template.begin(self._lose_template)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        async with asyncio.TaskGroup() as self._tasks:
            async with heeding(Reloads(self._reload_each, self._count)):
                await self._replace()
                await self._begun.wait()
                if not self._stopping.is_set():
                    when_ready()
                for _ in range(count - 1):
                    await self._replace()
                watching = self._tasks.create_task(self._watch_silence())
                await self._stopping.wait()
            watching.cancel()
            await self._acceptor.close()
            await asyncio.gather(*(process.end(self._end_s) for process in self._processes))
        self._template.close()
        return self._exit_code

    def _stop(self) -> None:
        """Stop; when told so again, at once."""
        if self._stopping.is_set():
            for process in self._processes:
                process.kill()
        self._end(self._exit_code)

    def _end(self, exit_code: int) -> None:
        self._exit_code = exit_code
        self._stopping.set()
        self._begun.set()

    def _fail(self, error: StartError) -> None:
        """End, since there will be no connections: another service listens on the port."""
        logger.error("%s", error)
        self._end(BAD_START)

    def _lose_template(self) -> None:
        """End, since no process could be replaced any more; those that there are answer their requests and end."""
        logger.error("the process that forks the HTTP processes ended; this one ends, so that another can be started")
        self._end(FAILED)

    def _well(self, process: HttpProcess) -> None:
        process.well()
        self._begun.set()

    async def _start(self) -> HttpProcess | None:
        """Start a process. Return None, and log why, if the system has no room for it."""
        self._started += 1
        try:
            process = await HttpProcess.start(self._template, self._folder / str(self._started))
        except OSError as exc:
            logger.error("an HTTP process cannot be started: %s", no_room(exc))
            return None
        self._processes.append(process)
        self._acceptor.add(process.channel, partial(self._well, process))
        self._tasks.create_task(self._watch(process))
        if self._stopping.is_set():
            process.kill()
        return process

    async def _replace(self) -> None:
        """Start a process, however long it takes until the system has room for it."""
        while not self._stopping.is_set() and not await self._start():
            await asyncio.sleep(RETRY_S)

    async def _watch(self, process: HttpProcess) -> None:
        """Wait for the end of a process, and replace it if it was wanted."""
        code = await process.ended
        self._processes.remove(process)
        self._acceptor.remove(process.channel)
        process.close()
        forget(process.counts)
        if self._stopping.is_set():
            return
        if code != BAD_START or self._begun.is_set():  # at the start one line is enough, which it has printed
            logger.error("HTTP process %d %s", process.pid, _how(code))
        if code == BAD_START:  # any other would end the same way
            self._end(BAD_START)
        elif not process.ready.is_set():
            await asyncio.sleep(RETRY_S)
        await self._replace()

    async def _watch_silence(self) -> None:
        """Have processes that say nothing passed over, and kill them later; others then take their place.

        The seconds are counted and not read from a clock, which goes on while the whole container is paused.
        """
        while True:
            await asyncio.sleep(WELL_S)
            for process in self._processes:
                if process.ready.is_set() and process.channel.fileno() >= 0:
                    process.silent_s += WELL_S
                if process.silent_s > QUIET_S:
                    self._acceptor.pass_over(process.channel)
                if process.silent_s > HANG_S:
                    logger.error("HTTP process %d has said nothing for %.0f s", process.pid, HANG_S)
                    process.kill()

    async def _reload_each(self) -> Outcome:
        """Have each process reload, once there is one. The first that refuses keeps those after it from trying."""
        await self._begun.wait()
        swapped: Outcome | None = None
        for process in tuple(self._processes):
            found = await process.reload()
            if found is None:
                continue  # it has ended, and what takes its place reads the files as they are now
            if not found.swapped:
                beside = "" if swapped is None else f"; other HTTP processes serve {swapped.said} already"
                return Outcome(False, found.said + beside)
            swapped = found
        return swapped or Outcome(False, "all HTTP processes ended meanwhile")

    def _count(self, swapped: bool) -> None:
        self._metrics.reloaded(swapped)
        self._metrics.share()


def _how(code: int) -> str:
    return f"was ended by signal {-code} ({signal.strsignal(-code)})" if code < 0 else f"ended with exit code {code}"
