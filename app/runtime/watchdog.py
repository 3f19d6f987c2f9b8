"""The process that ends an HTTP process whose event loop hangs: `python -m app.runtime.watchdog TICK_S`.

It knows nothing but the heartbeats on its standard input, see `heartbeat`. It imports little, so that it takes little
memory. Nothing within the HTTP process could do this: code in C that never returns may hold the interpreter lock, and
an alarm of the kernel goes by the clock, which goes on while a container is paused.
"""

import logging
import os
import select
import signal
import sys
from pathlib import Path

logger = logging.getLogger(__name__)

TICKS = 10
"""So many ticks without a heartbeat are within the patience."""
STOPPED = ("T", "t")
"""The states that Linux gives a process that was stopped by a signal or by a debugger."""


def _wait(tick_s: float, parent: int) -> bool:
    """Wait for more than `TICKS` ticks without a heartbeat; return False if the pipe was closed instead.

    The ticks are counted and not read from a clock. Time in which all processes stand still, since a container is
    paused or a laptop sleeps, is one tick at most, and ticks of a parent that alone is stopped do not count.
    """
    begun = False
    silent_ticks = 0
    while silent_ticks <= TICKS:
        heard, _, _ = select.select([sys.stdin], [], [], tick_s if begun else None)
        if not heard:
            silent_ticks += not _is_stopped(parent)
        elif os.read(sys.stdin.fileno(), 4096):
            begun, silent_ticks = True, 0
        else:
            return False
    return True


def _is_stopped(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] in STOPPED
    except OSError:  # it has ended, or this is not Linux
        return False


def _end_parent(parent: int, silent_s: float) -> None:
    """End the process that started this one by SIGALRM, with a line in the log."""
    try:
        from app.environment import load
        from app.logs import configure_logging

        configure_logging(load())
        logger.error("an image has kept this process from all else for %g s; the process is ended", silent_s)
    finally:
        if os.getppid() == parent:  # else it has ended meanwhile, and this process has another parent
            os.kill(parent, signal.SIGALRM)


def main(tick_s: float) -> None:
    """Watch until the pipe is closed, as it is when the HTTP process ends, or until that one has to be ended."""
    parent = os.getppid()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # all processes of a service may get these
        signal.signal(number, signal.SIG_IGN)
    if _wait(tick_s, parent):
        _end_parent(parent, TICKS * tick_s)


if __name__ == "__main__":
    main(float(sys.argv[1]))
