"""Whether the service stays as it is: memory, open files, threads and latency over minutes or hours of mixed requests.

Starts `mobilenet serve` with the settings of the environment, on the processors of this client, and offers 70 % of its
capacity: mostly good photos, a few broken ones, and a few clients that disconnect before their answer.
"""

import asyncio
import random
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import nan
from pathlib import Path
from typing import Annotated

import matplotlib.figure
import numpy as np
import typer
import uvloop
from pydantic import TypeAdapter
from rich.console import Console
from rich.table import Table

from tools.load.generator import Message, Result, format_number, make_photos, open_loop, post, read_photos
from tools.load.overload import find_capacity, measured
from tools.load.service import Process, Sample, ServiceFailed, serving

PART = 0.7
CAPACITY_S = 10.0
SETTLE_S = 3.0
"""Until the service noticed that connections were closed, and freed what they took."""
QUARTERS = 4

MIXTURE = 1000
"""Requests that are sent over and over, of which so many are not good:"""
TRUNCATED, TEXT, LEFT_EARLY, LEFT_WAITING = 20, 10, 10, 10
HALF_SENT_S = 0.02
"""One that leaves early does so this long after half of its photo; one that leaves waiting, right after all of it."""


@dataclass(frozen=True, slots=True)
class Window:
    """What was seen at one moment, seconds after the start, and of the answers 200 since the moment before."""

    at_s: float
    rss_mb: float
    fds: int
    threads: int
    goodput_per_s: float
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class Report:
    """What a soak came to; nan where it was too short to tell.

    The slope of the memory is by least squares over the last three quarters, the drift is the p50 of the last quarter
    over that of the first, and the descriptors are those of the idle service, before and after.
    """

    model: str
    seconds: float
    capacity_per_s: float
    offered_per_s: float
    counts: dict[str, int]
    rss_slope_mb_per_hour: float
    latency_drift: float
    idle_fds_start: int
    idle_fds_end: int
    windows: list[Window]


def mixture(url: str, photos: Sequence[bytes]) -> list[Message]:
    """Return the requests of a soak, in a random order that is always the same."""
    wrong = [_truncated] * TRUNCATED + [_text] * TEXT + [_left_early] * LEFT_EARLY + [_left_waiting] * LEFT_WAITING
    kinds = [*wrong, *[_good] * (MIXTURE - len(wrong))]
    choice = random.Random(0)
    choice.shuffle(kinds)
    return [kind(url, choice.choice(photos)) for kind in kinds]


def _good(url: str, photo: bytes) -> Message:
    return Message(post(url, photo))


def _truncated(url: str, photo: bytes) -> Message:
    return Message(post(url, photo[: len(photo) // 2]))


def _text(url: str, _: bytes) -> Message:
    return Message(post(url, b"This is no photo. " * 50))


def _left_early(url: str, photo: bytes) -> Message:
    return Message(post(url, photo)[: -len(photo) // 2], leave_after_s=HALF_SENT_S)


def _left_waiting(url: str, photo: bytes) -> Message:
    return Message(post(url, photo), leave_after_s=0.0)


def windows(result: Result, samples: Sequence[Sample]) -> list[Window]:
    """Join each sample but the first with the answers since the one before it."""
    found = []
    for before, after in pairwise(samples):
        end_s = after.at_s - result.started
        part = result.window(before.at_s - result.started, end_s)
        speed = part.goodput_per_s, part.percentile_ms(50), part.percentile_ms(99)
        found.append(Window(end_s, after.rss_mb, after.fds, after.threads, *speed))
    return found


def quarters(result: Result) -> list[Result]:
    """Return what ended in each quarter of the time in which requests were sent."""
    edges = np.linspace(0, result.seconds, QUARTERS + 1)
    return [result.window(float(start), float(end)) for start, end in pairwise(edges)]


def slope_per_hour(at_s: Sequence[float], values: Sequence[float]) -> float:
    """Return the slope by least squares, in units an hour; nan for fewer than two moments."""
    if len(set(at_s)) < 2:
        return nan
    return float(np.polynomial.Polynomial.fit(at_s, values, 1).convert().coef[1] * 3600)


def memory_slope(seen: Sequence[Window], seconds: float) -> float:
    """Return how fast the memory grew, in MB an hour, without the first quarter, in which pools and caches fill."""
    late = [window for window in seen if window.at_s >= seconds / QUARTERS]
    return slope_per_hour([window.at_s for window in late], [window.rss_mb for window in late])


def drift(result: Result) -> float:
    """Return the p50 of the last quarter over the p50 of the first; nan where a quarter had no answer."""
    first, *_, last = quarters(result)
    return last.percentile_ms(50) / first.percentile_ms(50)


async def soak(process: Process, photos: Sequence[bytes], seconds: float, every_s: float, capacity_s: float) -> Report:
    """Find the capacity, then offer 70 % of it for so many seconds."""
    good = [Message(post(process.url, photo)) for photo in photos]
    capacity = await find_capacity(process, good, capacity_s)
    rate_per_s = PART * capacity.goodput_per_s
    await asyncio.sleep(SETTLE_S)
    idle = process.sample()
    work = open_loop(process.url, mixture(process.url, photos), rate_per_s=rate_per_s, seconds=seconds)
    title = f"{PART * 100:g} % of {capacity.goodput_per_s:.0f}/s"
    result, samples = await measured(process, work, title, seconds, every_s)
    await asyncio.sleep(SETTLE_S)
    seen = windows(result, samples)
    return Report(
        model=process.model(),
        seconds=seconds,
        capacity_per_s=capacity.goodput_per_s,
        offered_per_s=result.offered_per_s,
        counts=result.counts,
        rss_slope_mb_per_hour=memory_slope(seen, seconds),
        latency_drift=drift(result),
        idle_fds_start=idle.fds,
        idle_fds_end=process.sample().fds,
        windows=seen,
    )


COLUMNS: dict[str, Callable[[Window], float]] = {
    "200/s": lambda window: window.goodput_per_s,
    "p50 ms": lambda window: window.p50_ms,
    "p99 ms": lambda window: window.p99_ms,
    "RSS MB": lambda window: window.rss_mb,
    "open files": lambda window: window.fds,
    "threads": lambda window: window.threads,
}


def table(report: Report) -> Table:
    """Return the table with a row for each quarter: the medians of its windows."""
    shown_table = Table("quarter", title=f"{report.model}, {report.seconds / 60:g} minutes")
    for name in COLUMNS:
        shown_table.add_column(name, justify="right")
    for quarter in range(QUARTERS):
        inside = [window for window in report.windows if _quarter(window, report.seconds) == quarter]
        medians = (_median([value(window) for window in inside]) for value in COLUMNS.values())
        shown_table.add_row(str(quarter + 1), *map(format_number, medians))
    return shown_table


def _quarter(window: Window, seconds: float) -> int:
    return min(int(window.at_s / seconds * QUARTERS), QUARTERS - 1)


def _median(values: list[float]) -> float:
    return float(np.median(values)) if values else nan


def lines(report: Report) -> Iterator[str]:
    """Yield what came out, in words."""
    offered, capacity = format_number(report.offered_per_s), format_number(report.capacity_per_s)
    yield f"offered {offered}/s of {capacity}/s: {', '.join(f'{n:,} × {name}' for name, n in report.counts.items())}"
    yield f"memory: {format_number(report.rss_slope_mb_per_hour, 2)} MB/hour over the last three quarters"
    yield f"open files of the idle service: {report.idle_fds_start} before, {report.idle_fds_end} after"
    yield f"latency: p50 of the last quarter / of the first: {format_number(report.latency_drift, 2)}"


def draw(report: Report, path: Path) -> None:
    """Draw memory, latency, open files and threads over the minutes."""
    figure = matplotlib.figure.Figure(figsize=(9, 8), layout="constrained")
    panels = {"MB": ["RSS MB"], "ms": ["p50 ms", "p99 ms"], "count": ["open files", "threads"]}
    minutes = [window.at_s / 60 for window in report.windows]
    for axes, (unit, names) in zip(figure.subplots(len(panels), 1, sharex=True), panels.items(), strict=True):
        for name in names:
            axes.plot(
                minutes, [COLUMNS[name](window) for window in report.windows], label=name.removesuffix(f" {unit}")
            )
        axes.set(ylabel=unit)
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        axes.legend()
    axes.set(xlabel="minutes")
    figure.suptitle(f"{report.model}, {report.offered_per_s:.0f} requests/s")
    figure.savefig(path, dpi=110)


def main(
    minutes: Annotated[float, typer.Option(help="How long to offer requests.")] = 20,
    photos: Annotated[
        Path | None, typer.Option(help="Folder of photos to post; default: made here.", exists=True)
    ] = None,
    every: Annotated[float, typer.Option(help="Seconds between two samples.")] = 10,
    capacity_seconds: Annotated[float, typer.Option(help="Of finding the capacity.")] = CAPACITY_S,
    save: Annotated[Path | None, typer.Option(help="Put the report into this JSON file.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw the report into this PNG file.")] = None,
) -> None:
    """Print whether memory, open files or latency grow."""
    bodies = read_photos(photos) if photos else make_photos()
    with serving() as process:
        report = uvloop.run(soak(process, bodies, minutes * 60, every, capacity_seconds))
    if save is not None:
        save.write_bytes(TypeAdapter(Report).dump_json(report, indent=1) + b"\n")
    if plot is not None:
        draw(report, plot)
    console = Console(width=None if sys.stdout.isatty() else 100, highlight=False)
    console.print(table(report), *lines(report), sep="\n")


if __name__ == "__main__":
    try:
        typer.run(main)
    except ServiceFailed as exc:
        sys.exit(f"soak: {exc}")
