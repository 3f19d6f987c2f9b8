"""One of several HTTP processes, as the supervisor sees it."""

import asyncio
import os
import signal
import socket
from contextlib import suppress
from pathlib import Path

from app.control import ASK, outcome
from app.reload import Outcome
from app.server.template import Template

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class HttpProcess:
    """An HTTP process, the supervisor's ends of its channel and of its control, and the file that it counts in."""

    def __init__(
        self, pid: int, ended: asyncio.Future[int], channel: socket.socket, control: Streams, counts: Path
    ) -> None:
        self.pid = pid
        self.ended = ended
        """Its exit code, or the number of the signal that ended it, below 0."""
        self.channel = channel
        self._from_it, self._to_it = control
        self.counts = counts
        self.silent_s = 0.0
        """For how long it has not said that it is well, since it was ready."""
        self.ready = asyncio.Event()

    @classmethod
    async def start(cls, template: Template, counts: Path) -> "HttpProcess":
        """Have the template fork a process. Raises `OSError` if the system has no room for it."""
        (channel, its_channel), (control, its_control) = socket.socketpair(), socket.socketpair()
        try:
            with its_channel, its_control:
                pid, ended = await template.fork(its_channel, counts, its_control)
        except BaseException:
            channel.close()
            control.close()
            raise
        return cls(pid, ended, channel, await asyncio.open_unix_connection(sock=control), counts)

    def well(self) -> None:
        """Note that it has said that it is well, and therefore ready."""
        self.silent_s = 0.0
        self.ready.set()

    async def reload(self) -> Outcome | None:
        """Have it reload, once it is ready, and return what came of it; None if it has ended instead."""
        self._to_it.write(ASK)
        with suppress(OSError):
            return outcome(await self._from_it.readline())
        return None

    def close(self) -> None:
        """Close the control of a process that has ended."""
        self._to_it.close()

    def kill(self) -> None:
        """End it at once."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        if not self.ended.done():
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    async def end(self, within_s: float) -> None:
        """Wait until it has ended, and kill it when the time is over. One that never was ready has no requests."""
        if not self.ready.is_set():
            self._signal(signal.SIGTERM)  # then whatever loads its models ends, too, before it does
        await asyncio.wait([self.ended], timeout=within_s)
        if not self.ended.done():
            self.kill()
            await self.ended
