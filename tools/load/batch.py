"""Measures `mobilenet batch` beside `mobilenet classify`, by turns, on one CPU and on several, with many small files.

The files are hard links to a few photos, in folders of a thousand. Their classes are those of the photos; only their
number matters. Memory is that of the process that lists them and waits for Ray.
"""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, NamedTuple

import typer
from rich.console import Console
from rich.table import Table

from tools.load.service import tree

IN_FOLDER = 1000
LOOK_S = 0.5
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class Run(NamedTuple):
    """How long a command took, the CPU seconds of all its processes, and the most memory of the first one."""

    seconds: float
    cpu_s: float
    rss_mb: float


@contextmanager
def linked(photos: Path, count: int) -> Iterator[Path]:
    """Make a folder of so many hard links to copies of photos, among temporary files; it is removed in the end."""
    sources = sorted(path for path in photos.iterdir() if path.is_file())
    folder = Path(tempfile.mkdtemp(prefix="many-photos-", dir=tempfile.gettempdir()))
    copies = [shutil.copy(source, folder / f".{source.name}") for source in sources]  # links do not cross file systems
    try:
        for number in range(count):
            inside = folder / f"{number // IN_FOLDER:06}"
            inside.mkdir(exist_ok=True)
            os.link(copies[number % len(copies)], inside / f"{number:09}{Path(copies[number % len(copies)]).suffix}")
        for copy in copies:
            Path(copy).unlink()
        yield folder
    finally:
        shutil.rmtree(folder)


def run(command: list[str], cpus: int) -> Run:
    """Run a command on so many CPUs. Raises `CalledProcessError` if it fails otherwise than by single photos."""
    allowed = ",".join(map(str, sorted(os.sched_getaffinity(0))[:cpus]))
    began = time.monotonic()
    popen = subprocess.Popen(["taskset", "--cpu-list", allowed, *command], stdout=subprocess.DEVNULL)
    used: dict[int, float] = {}
    rss_mb = 0.0
    while popen.poll() is None:
        rss_mb = max(rss_mb, _rss_mb(popen.pid))
        with suppress(OSError):  # a process ends while it is looked at
            for pid in tree(popen.pid):
                used[pid] = max(used.get(pid, 0.0), _cpu_s(pid))
        time.sleep(LOOK_S)
    if popen.returncode not in (0, 1):
        raise subprocess.CalledProcessError(popen.returncode, command)
    return Run(time.monotonic() - began, sum(used.values()), rss_mb)


def _rss_mb(pid: int) -> float:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def _cpu_s(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def commands(folder: Path, output: Path) -> dict[str, list[str]]:
    """Return what is compared."""
    mobilenet = str(Path(sys.executable).with_name("mobilenet"))
    return {
        "classify": [mobilenet, "classify", str(folder), "--json"],
        "batch": [mobilenet, "batch", str(folder), "--output", str(output)],
    }


def main(
    photos: Annotated[Path, typer.Argument(help="Folder of photos to link to.", exists=True)],
    count: Annotated[int, typer.Option(min=1, help="How many files to make.")] = 10_000,
    cpus: Annotated[list[int], typer.Option(help="CPUs to run on; may be repeated.")] = [1, 2],  # noqa: B006
    rounds: Annotated[int, typer.Option(min=1, help="How often each is measured, by turns.")] = 3,
    only: Annotated[str | None, typer.Option(help="Measure this one alone: classify or batch.")] = None,
) -> None:
    """Print photos per second, CPU milliseconds per photo and memory of both, on each number of CPUs."""
    found: dict[tuple[int, str], list[Run]] = {}
    with linked(photos, count) as folder, tempfile.TemporaryDirectory() as outputs:
        for number in range(rounds):
            for width in cpus:
                for name, command in commands(folder, Path(outputs) / f"{number}-{width}").items():
                    if only in (None, name):
                        found.setdefault((width, name), []).append(run(command, width))
    table = Table("CPUs", "command", "photos/s", "CPU ms per photo", "memory of the first process")
    for (width, name), runs in found.items():
        seconds, cpu_s, rss_mb = (statistics.median(values) for values in zip(*runs, strict=True))
        row = f"{count / seconds:,.1f}", f"{1000 * cpu_s / count:.2f}", f"{rss_mb:,.0f} MB"
        table.add_row(str(width), name, *row)
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
