"""Measure what the service does at five times its capacity: how many are answered, how late, and with how much memory.

Starts `mobilenet serve` with the settings of the environment and loads it from this process, on the same processors:
what the client takes, the service does not have.
"""

import asyncio
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import httpx
import typer
from rich.console import Console
from rich.table import Table

from tools.load import OK, Message, Result, closed_loop, meanwhile, open_loop, post

CONNECTIONS = 32
WARM_UP_S = 3.0
CAPACITY_S = 10.0
FULL, EXCESS = 0.95, 5.0
TOO_MANY = 429
START_S = 60


@contextmanager
def service() -> Iterator[tuple[str, int]]:
    """Start the service on a free port; give its address and process once it is ready."""
    program = Path(sys.executable).with_name("mobilenet")
    environment = os.environ | {"MOBILENET_PORT": "0", "MOBILENET_LOG_LEVEL": "warning"}
    with (
        tempfile.TemporaryFile("w+") as log,
        subprocess.Popen([program, "serve"], env=environment, stderr=log) as popen,
    ):
        try:
            yield _address(log.fileno(), popen), popen.pid
        finally:
            popen.terminate()


def _address(log: int, popen: "subprocess.Popen[bytes]") -> str:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and popen.poll() is None:
        if found := re.search(rb"serving on (http://[^,]+)", os.pread(log, 65536, 0)):
            url = found[1].decode()
            if _ready(url):
                return url
        time.sleep(0.1)
    raise RuntimeError("the service did not start")


def _ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz").is_success
    except httpx.TransportError:
        return False


def memory_mb(pid: int) -> float:
    """Return the resident memory of a process in MB."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


async def measure(url: str, pid: int, photos: list[bytes], seconds: float, table: Table) -> None:
    """Find the capacity, then offer 95 % and 500 % of it, and write each step into the table."""
    messages = [Message(post(url, photo)) for photo in photos]
    await closed_loop(url, messages, connections=CONNECTIONS, seconds=WARM_UP_S)
    result = await closed_loop(url, messages, connections=CONNECTIONS, seconds=CAPACITY_S)
    capacity = result.goodput_per_s
    _row(table, f"capacity, {CONNECTIONS} connections", result, [memory_mb(pid)], capacity)
    for name, part in (("95 % of it", FULL), ("5 × it", EXCESS)):
        memory: list[float] = []
        work = open_loop(url, messages, rate_per_s=part * capacity, seconds=seconds)
        result = await meanwhile(work, 1.0, lambda memory=memory: memory.append(memory_mb(pid)))  # type: ignore[misc]
        _row(table, name, result, memory, capacity)


def _row(table: Table, name: str, result: Result, memory: list[float], capacity: float) -> None:
    others = {outcome: count for outcome, count in result.counts.items() if outcome not in {str(OK), str(TOO_MANY)}}
    accepted = [f"{result.percentile_ms(percent):.0f}" for percent in (50, 95, 99)]
    table.add_row(
        name,
        f"{result.offered_per_s:.0f}",
        f"{result.goodput_per_s:.0f}",
        f"{result.goodput_per_s / capacity:.0%}",
        str(result.counts.get(str(TOO_MANY), 0)),
        str(others or ""),
        *accepted,
        f"{result.percentile_ms(50, TOO_MANY):.0f}",
        f"{memory[0]:.0f} to {memory[-1]:.0f}",
    )


def main(
    photos: Annotated[Path, typer.Argument(help="Folder of photos to post.", exists=True)],
    seconds: Annotated[float, typer.Option(help="Of each step.")] = 60,
    count: Annotated[int, typer.Option(help="How many of the photos.")] = 100,
) -> None:
    """Print what is offered and answered at capacity, just below it, and at five times it."""
    files = sorted(path for path in photos.rglob("*") if path.is_file())
    bodies = [path.read_bytes() for path in files[:: max(1, len(files) // count)]]
    table = Table("load", "offered/s", "200/s", "goodput", "429", "others", "p50 ms", "p95", "p99", "429 p50", "MB")
    with service() as (url, pid):
        asyncio.run(measure(url, pid, bodies, seconds, table))
    Console(width=None if sys.stdout.isatty() else 130).print(table)


if __name__ == "__main__":
    typer.run(main)
