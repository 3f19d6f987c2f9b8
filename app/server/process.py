"""One of several HTTP processes, as the supervisor sees it."""

import asyncio
import socket
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path


class HttpProcess:
    """An HTTP process, the supervisor's end of its channel, and the file that it counts in."""

    def __init__(self, process: asyncio.subprocess.Process, channel: socket.socket, counts: Path) -> None:
        self._process = process
        self.pid = process.pid
        self.channel = channel
        self.counts = counts
        self.wanted = True
        """Whether another process is to take its place when it ends."""
        self.silent_s = 0.0
        """For how long it has not said that it is well, since it was ready."""
        self.ready = asyncio.Event()
        self.ended = asyncio.create_task(process.wait())
        """Its exit code, or the number of the signal that ended it, below 0."""

    @classmethod
    async def start(cls, command: Sequence[str], counts: Path) -> "HttpProcess":
        """Start `command` with two more arguments: the descriptor of its channel, and the file.

        Raises `OSError` if the system has no room for another process.
        """
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                process = await asyncio.create_subprocess_exec(
                    *command,
                    str(theirs.fileno()),
                    str(counts),
                    stdin=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                    process_group=0,  # Ctrl-C reaches the supervisor alone, which then stops all in order
                )
        except BaseException:
            ours.close()
            raise
        return cls(process, ours, counts)

    def well(self) -> None:
        """Note that it has said that it is well, and therefore ready."""
        self.silent_s = 0.0
        self.ready.set()

    async def gets_ready(self) -> bool:
        """Wait until it is ready or has ended. Return whether it is ready."""
        ready = asyncio.create_task(self.ready.wait())
        await asyncio.wait([ready, self.ended], return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        return not self.ended.done()

    def kill(self) -> None:
        """End it at once."""
        with suppress(ProcessLookupError):
            self._process.kill()

    async def end(self, within_s: float) -> None:
        """Wait until it has ended, and kill it when the time is over. One that never was ready is killed at once."""
        await asyncio.wait([self.ended], timeout=within_s if self.ready.is_set() else 0)
        if not self.ended.done():
            self.kill()
            await self.ended
