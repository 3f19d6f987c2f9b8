"""Heartbeats of an event loop to a watchdog, a process that ends this one if they stay away; its side is `watchdog`."""

import asyncio
import ctypes
import os
import signal
import subprocess
import sys
from contextlib import suppress

from app.errors import StartError
from app.machine import no_room
from app.runtime.watchdog import TICKS

WATCHDOG_MODULE = "app.runtime.watchdog"
BEATS = 2
"""Heartbeats in each tick of the watchdog."""


class Heartbeat:
    """Heartbeats of one event loop, from the first call of `begin` on."""

    fault: str | None = None
    """Why a loop that hangs would not be noticed any more; None if all is well."""

    def __init__(self, patience_s: float) -> None:
        """Start the watchdog, which ends this process by SIGALRM after `patience_s` without a heartbeat.

        Raises `StartError` if the system has no room for another process.
        """
        self._tick_s = patience_s / TICKS
        self._next: asyncio.TimerHandle | None = None
        reader, self._pipe = os.pipe()
        command = [sys.executable, "-m", WATCHDOG_MODULE, str(self._tick_s)]
        try:
            # In a group of its own, Ctrl-C does not reach it.
            self._watchdog = subprocess.Popen(command, stdin=reader, process_group=0)
        except OSError as exc:
            os.close(self._pipe)
            raise StartError(f"the process that notices hangs cannot be started: {no_room(exc)}") from exc
        finally:
            os.close(reader)
        os.set_blocking(self._pipe, False)
        if os.getpid() == 1:
            _heed_alarms()

    def begin(self) -> None:
        """Beat now, and regularly from now on; called in the loop. Do nothing if this was called before."""
        if self._next is None:
            self._beat()

    def _beat(self) -> None:
        try:
            with suppress(BlockingIOError):  # a watchdog that is stopped reads nothing
                os.write(self._pipe, b".")
        except BrokenPipeError:
            self.fault = "the process that notices hangs ended"
        self._next = asyncio.get_running_loop().call_later(self._tick_s / BEATS, self._beat)

    def close(self) -> None:
        """End the watchdog."""
        if self._next is not None:
            self._next.cancel()
        self._watchdog.kill()
        self._watchdog.wait()
        os.close(self._pipe)


def _heed_alarms() -> None:
    """Have SIGALRM end this process with its number as the exit code.

    The first process of a container ignores every signal that it has no handler for. This one is the C library's
    `_exit`, because a handler in Python would never run in a process that hangs.
    """
    library = ctypes.CDLL(None)
    library.signal(signal.SIGALRM, library._exit)
