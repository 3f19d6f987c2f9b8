"""What this process may use of the machine: CPUs and memory, within its control groups (v1 and v2), and open files."""

import errno
import os
import resource
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from math import inf
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
CPUS = Path("/proc/cpuinfo")
MEMBERSHIPS = Path("/proc/self/cgroup")
UNLIMITED_BYTES = 2**60
"""Version 1 writes no limit as the largest multiple of a page that 63 bits hold."""


def available_cpus() -> int:
    """Return the CPUs of the affinity, or as many as the smallest quota comes closest to; at least 1."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = min(_limits("cpu", _quota_v1, _quota_v2), default=inf)
    return cpus if quota == inf else max(1, min(cpus, round(quota)))


def instructions() -> frozenset[str]:
    """Return the extensions of the instruction set that an x86 processor has, as Linux names them; else nothing."""
    try:
        lines = CPUS.read_text().splitlines()
    except OSError:  # not Linux
        return frozenset()
    return frozenset(next((line for line in lines if line.startswith("flags")), "").partition(":")[2].split())


def memory_limit_bytes() -> int | None:
    """Return the smallest limit on memory in bytes; None if there is none."""
    limit = min(_limits("memory", _memory_v1, _memory_v2), default=inf)
    return None if limit >= UNLIMITED_BYTES else int(limit)


def open_files_limit() -> int:
    """Return how many files this process may have open, after raising the soft limit as far as it goes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):  # macOS says that there is no limit, and allows fewer
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft


def no_room(error: OSError | RuntimeError) -> str:
    """Say why the system starts no other process, or, by the `RuntimeError` of Python, no other thread."""
    if isinstance(error, OSError) and error.errno != errno.EAGAIN:
        return str(error.strerror)
    return f"{os.strerror(errno.EAGAIN)}; is the number of processes limited (docker --pids-limit, ulimit -u)?"


def oom_kills() -> int:
    """Return how many processes of these control groups the kernel has killed because memory ran out."""
    kills = _limits("memory", partial(_kills, "memory.oom_control"), partial(_kills, "memory.events"))
    return int(max(kills, default=0))


Reader = Callable[[Path], float]
"""Reads a number in the folder of a control group, such as a limit; infinity if there is none."""


def _limits(controller: str, read_v1: Reader, read_v2: Reader) -> Iterator[float]:
    """Yield the limits of each control group that this process is in, and of each group above it."""
    for base, group, read in _memberships(controller, read_v1, read_v2):
        inside = base / group.strip("/")
        for folder in (inside, *inside.parents):
            with suppress(OSError, ValueError):  # not mounted here, or not limited at this level
                yield read(folder)
            if folder == base:
                break


def _memberships(controller: str, read_v1: Reader, read_v2: Reader) -> Iterator[tuple[Path, str, Reader]]:
    try:
        lines = MEMBERSHIPS.read_text().splitlines()
    except OSError:  # not Linux
        return
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if not controllers:
            yield CGROUPS, group, read_v2
        elif controller in controllers.split(","):
            yield CGROUPS / controller, group, read_v1


def _quota_v1(folder: Path) -> float:
    quota = int((folder / "cpu.cfs_quota_us").read_text())
    return inf if quota < 0 else quota / int((folder / "cpu.cfs_period_us").read_text())


def _quota_v2(folder: Path) -> float:
    quota, period = (folder / "cpu.max").read_text().split()
    return inf if quota == "max" else int(quota) / int(period)


def _memory_v1(folder: Path) -> float:
    return int((folder / "memory.limit_in_bytes").read_text())


def _memory_v2(folder: Path) -> float:
    limit = (folder / "memory.max").read_text().strip()
    return inf if limit == "max" else int(limit)


def _kills(file: str, folder: Path) -> float:
    counts = dict(line.split() for line in (folder / file).read_text().splitlines())
    return int(counts.get("oom_kill", 0))
