"""What a person sees of a load: progress while it runs, and a table of its outcomes afterwards."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from tools.load.result import NAMES, LoadResult, percentile

T = TypeVar("T")


async def meanwhile(work: Coroutine[Any, Any, T], every_s: float, tick: Callable[[], object]) -> T:
    """Await the work and return its result; until it is done, call `tick` every so many seconds."""
    task = asyncio.ensure_future(work)
    try:
        while not (await asyncio.wait((task,), timeout=every_s))[0]:
            tick()
        return task.result()
    finally:
        task.cancel()


async def with_progress(work: Coroutine[Any, Any, T], title: str, seconds: float) -> T:
    """Await work that takes about so many seconds, under a progress bar."""
    # The bar is refreshed from here, twice a second; the thread that would do it otherwise takes more of the CPU.
    with Progress(console=Console(stderr=True), auto_refresh=False) as progress:
        bar = progress.add_task(title, total=seconds)
        started = time.perf_counter()

        def tick() -> None:
            progress.update(bar, completed=min(time.perf_counter() - started, seconds), refresh=True)

        result = await meanwhile(work, 0.5, tick)
        progress.update(bar, completed=seconds, refresh=True)
    return result


def format_number(value: float, digits: int = 1) -> str:
    """Return a number as the tables show it; a dash stands for nan, which was not measured."""
    return "–" if np.isnan(value) else f"{value:,.{digits}f}"


def outcome_table(result: LoadResult) -> Table:
    """Return a table with a row for each outcome.

    Milliseconds count from when a request was due; `connected` is when it had a connection.
    """
    table = Table()
    for name in ("outcome", "requests", "p50 ms", "p95 ms", "p99 ms", "connected p50 ms"):
        table.add_column(name, justify="right")
    for row in _outcomes(result):
        table.add_row(*row)
    return table


def _outcomes(result: LoadResult) -> Iterator[Sequence[str]]:
    codes = {name: code for code, name in NAMES.items()}
    for name, count in result.counts.items():
        code = codes[name] if name in codes else int(name)
        percentiles = (format_number(result.percentile_ms(percent, code)) for percent in (50, 95, 99))
        wait_ms = percentile(result.wait_ms[result.outcomes == code], 50)
        yield name, f"{count:,}", *percentiles, format_number(wait_ms)


def summary(result: LoadResult) -> str:
    """Return one line with the rates, and how late the client was."""
    offered, goodput, lag = map(format_number, (result.offered_per_s, result.goodput_per_s, result.lag_p99_ms))
    return f"{offered} requests/s, {goodput} answers 200/s; the client itself was up to {lag} ms late (p99)"
