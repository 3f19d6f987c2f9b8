"""The CPU time that other processes take during a measurement; if it is too much, the measurement is repeated."""

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

TICK_S = 1 / os.sysconf("SC_CLK_TCK")


class Others:
    """Counts, from its creation on, the CPU time of all processes other than this one and its descendants."""

    def __init__(self) -> None:
        self._started, self._all, self._own = time.perf_counter(), _all_s(), _own_s()

    def share(self, cpus: int) -> float:
        """Return the share of the CPUs that others took, 0 to 1. Descendants that have ended count as others."""
        spent = (_all_s() - self._all) - (_own_s() - self._own)
        return min(1.0, max(0.0, spent / (time.perf_counter() - self._started) / cpus))


def _all_s() -> float:
    user, nice, system = Path("/proc/stat").read_text().split()[1:4]
    return (int(user) + int(nice) + int(system)) * TICK_S


def _own_s() -> float:
    return sum(map(_spent_s, _tree(os.getpid())))


def _tree(pid: int) -> Iterator[int]:
    yield pid
    with suppress(OSError):  # threads and children may end at any time
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                yield from _tree(int(child))


def _spent_s(pid: int) -> float:
    """Return the user and system time of a process and of the children it has waited for (see proc_pid_stat(5))."""
    with suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        return sum(map(int, fields[11:15])) * TICK_S
    return 0.0
