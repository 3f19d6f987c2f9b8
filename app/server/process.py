"""One of several HTTP processes, as the supervisor sees it."""

import asyncio
import socket
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from app.control import ASK, outcome
from app.reload import Outcome

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class HttpProcess:
    """An HTTP process, the supervisor's ends of its channel and of its control, and the file that it counts in."""

    def __init__(
        self, process: asyncio.subprocess.Process, channel: socket.socket, control: Streams, counts: Path
    ) -> None:
        self._process = process
        self.pid = process.pid
        self.channel = channel
        self._from_it, self._to_it = control
        self.counts = counts
        self.silent_s = 0.0
        """For how long it has not said that it is well, since it was ready."""
        self.ready = asyncio.Event()
        self.ended = asyncio.create_task(process.wait())
        """Its exit code, or the number of the signal that ended it, below 0."""

    @classmethod
    async def start(cls, command: Sequence[str], counts: Path) -> "HttpProcess":
        """Start `command` with three more arguments: the descriptor of its channel, the file, and that of its control.

        Over the control it is told to reload. Raises `OSError` if the system has no room for another process.
        """
        (channel, its_channel), (control, its_control) = socket.socketpair(), socket.socketpair()
        try:
            with its_channel, its_control:
                process = await asyncio.create_subprocess_exec(
                    *command,
                    str(its_channel.fileno()),
                    str(counts),
                    str(its_control.fileno()),
                    stdin=subprocess.DEVNULL,
                    pass_fds=[its_channel.fileno(), its_control.fileno()],
                    process_group=0,  # Ctrl-C reaches the supervisor alone, which then stops all in order
                )
        except BaseException:
            channel.close()
            control.close()
            raise
        return cls(process, channel, await asyncio.open_unix_connection(sock=control), counts)

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
        with suppress(ProcessLookupError):
            self._process.kill()

    async def end(self, within_s: float) -> None:
        """Wait until it has ended, and kill it when the time is over. One that never was ready is killed at once."""
        await asyncio.wait([self.ended], timeout=within_s if self.ready.is_set() else 0)
        if not self.ended.done():
            self.kill()
            await self.ended
