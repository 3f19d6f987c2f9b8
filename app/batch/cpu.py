"""How much CPU time this process has taken, and those that it started."""

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

PROCESSES = Path("/proc")
_PARENT, _USER, _SYSTEM = 1, 11, 12  # fields of `stat` behind the name of the command, from 0
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def cpu_s() -> float:
    """Return the CPU seconds of this process and of all that it started and that still run.

    Where there is no `/proc`, only those of this process.
    """
    return time.process_time() + sum(_cpu_s_below(os.getpid()))


def _cpu_s_below(parent: int) -> Iterator[float]:
    found = {}
    for folder in PROCESSES.glob("[0-9]*"):
        with suppress(OSError):  # it has ended meanwhile
            fields = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()
            found[int(folder.name)] = (int(fields[_PARENT]), (int(fields[_USER]) + int(fields[_SYSTEM])) / _TICKS_PER_S)
    parents = {parent}
    while parents:
        children = {number for number, (above, _) in found.items() if above in parents}
        yield from (found[number][1] for number in children)
        parents = children
