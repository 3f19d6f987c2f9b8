"""How much CPU time this process has taken, and those that it started."""

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

PROCESSES: Final = Path("/proc")
_USER, _SYSTEM = 11, 12  # fields of `stat` behind the name of the command, from 0
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def cpu_s() -> float:
    """Return the CPU seconds of this process and of all that it started and that still run.

    Where there is no `/proc`, only those of this process.
    """
    return time.process_time() + sum(map(_cpu_s, _below(os.getpid())))


def _below(process: int) -> Iterator[int]:
    """Yield the processes that one has started, and those that these have."""
    with suppress(OSError):  # it has ended meanwhile
        for thread in (PROCESSES / str(process) / "task").iterdir():
            for child in map(int, (thread / "children").read_text().split()):
                yield child
                yield from _below(child)


def _cpu_s(process: int) -> float:
    try:
        fields = (PROCESSES / str(process) / "stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[_USER]) + int(fields[_SYSTEM])) / _TICKS_PER_S
