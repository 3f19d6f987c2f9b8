"""Checks that the service does not change in minutes or hours of mixed requests: memory, open files, threads, latency.

It starts `mobilenet serve` with the settings of the environment, on the same CPUs as this client, and offers 70 % of
its capacity: mostly good photos, some broken ones, and some clients that disconnect before their answer.
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

from tools.load.loops import open_loop
from tools.load.messages import Message, make_photos, post, read_photos
from tools.load.overload import find_capacity, measured
from tools.load.report import format_number
from tools.load.result import LoadResult
from tools.load.service import RunningService, Sample, ServiceFailed, serving

PART = 0.7
CAPACITY_S = 10.0
SETTLE_S = 3.0
"""How long the service may take to notice closed connections and to free what they took."""
QUARTERS = 4

MIXTURE = 1000
"""The number of requests that are sent over and over."""
TRUNCATED, TEXT, LEFT_EARLY, LEFT_WAITING = 20, 10, 10, 10
"""How many of them are truncated photos, are text, or are sent by a client that disconnects.

The client disconnects early, a moment after half of its photo, or while waiting, right after its whole photo.
"""
HALF_SENT_S = 0.02
"""How long after half of its photo a client disconnects."""


@dataclass(frozen=True, slots=True)
class Window:
    """A sample of the service `at_s` seconds after the start, and the answers with status 200 since the last sample."""

    at_s: float
    rss_mb: float
    fds: int
    threads: int
    goodput_per_s: float
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class SoakReport:
    """The result of a soak. Figures are nan if it was too short for them.

    `rss_slope_mb_per_hour` is fitted to the last three quarters by least squares. `latency_drift` is the p50 of the
    last quarter divided by that of the first. `idle_fds_…` are the open files of the idle service before and after.
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
    """Return the requests of a soak in random order, which is the same in every run."""
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


def windows(result: LoadResult, samples: Sequence[Sample]) -> list[Window]:
    """Join each sample, except the first, with the answers since the one before it."""
    found = []
    for before, after in pairwise(samples):
        end_s = after.at_s - result.started
        part = result.window(before.at_s - result.started, end_s)
        speed = part.goodput_per_s, part.percentile_ms(50), part.percentile_ms(99)
        found.append(Window(end_s, after.rss_mb, after.fds, after.threads, *speed))
    return found


def quarters(result: LoadResult) -> list[LoadResult]:
    """Return the requests that ended in each quarter of the time in which requests were sent."""
    edges = np.linspace(0, result.seconds, QUARTERS + 1)
    return [result.window(float(start), float(end)) for start, end in pairwise(edges)]


def slope_per_hour(at_s: Sequence[float], values: Sequence[float]) -> float:
    """Return the slope by least squares, in units per hour; nan for fewer than two different times."""
    if len(set(at_s)) < 2:
        return nan
    return float(np.polynomial.Polynomial.fit(at_s, values, 1).deriv()(0.0) * 3600)


def memory_slope(seen: Sequence[Window], seconds: float) -> float:
    """Return how fast the memory grew, in MB per hour, after the first quarter, in which pools and caches fill up."""
    late = [window for window in seen if window.at_s >= seconds / QUARTERS]
    return slope_per_hour([window.at_s for window in late], [window.rss_mb for window in late])


def drift(result: LoadResult) -> float:
    """Return the p50 of the last quarter divided by the p50 of the first; nan if a quarter had no answer."""
    first, *_, last = quarters(result)
    return last.percentile_ms(50) / first.percentile_ms(50)


async def soak(
    service: RunningService, photos: Sequence[bytes], seconds: float, every_s: float, capacity_s: float
) -> SoakReport:
    """Find the capacity, then offer 70 % of it for so many seconds."""
    good = [Message(post(service.url, photo)) for photo in photos]
    capacity = await find_capacity(service, good, capacity_s)
    rate_per_s = PART * capacity.goodput_per_s
    await asyncio.sleep(SETTLE_S)
    idle = service.sample()
    work = open_loop(service.url, mixture(service.url, photos), rate_per_s=rate_per_s, seconds=seconds)
    title = f"{PART * 100:g} % of {capacity.goodput_per_s:.0f}/s"
    result, samples = await measured(service, work, title, seconds, every_s)
    await asyncio.sleep(SETTLE_S)
    seen = windows(result, samples)
    return SoakReport(
        model=service.model(),
        seconds=seconds,
        capacity_per_s=capacity.goodput_per_s,
        offered_per_s=result.offered_per_s,
        counts=result.counts,
        rss_slope_mb_per_hour=memory_slope(seen, seconds),
        latency_drift=drift(result),
        idle_fds_start=idle.fds,
        idle_fds_end=service.sample().fds,
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


def quarter_table(report: SoakReport) -> Table:
    """Return a table with a row for each quarter, which has the medians of its windows."""
    table = Table("quarter", title=f"{report.model}, {report.seconds / 60:g} minutes")
    for name in COLUMNS:
        table.add_column(name, justify="right")
    for quarter in range(QUARTERS):
        inside = [window for window in report.windows if _quarter(window, report.seconds) == quarter]
        medians = (_median([value(window) for window in inside]) for value in COLUMNS.values())
        table.add_row(str(quarter + 1), *map(format_number, medians))
    return table


def _quarter(window: Window, seconds: float) -> int:
    return min(int(window.at_s / seconds * QUARTERS), QUARTERS - 1)


def _median(values: list[float]) -> float:
    return float(np.median(values)) if values else nan


def lines(report: SoakReport) -> Iterator[str]:
    """Yield the figures of the whole soak, one on each line."""
    offered, capacity = format_number(report.offered_per_s), format_number(report.capacity_per_s)
    counts = ", ".join(f"{count:,} × {name}" for name, count in report.counts.items())
    yield f"offered {offered} requests/s, with a capacity of {capacity}/s: {counts}"
    yield f"memory grew by {format_number(report.rss_slope_mb_per_hour, 2)} MB/hour over the last three quarters"
    yield f"open files of the idle service: {report.idle_fds_start} before, {report.idle_fds_end} after"
    yield f"latency: p50 of the last quarter / p50 of the first: {format_number(report.latency_drift, 2)}"


def draw(report: SoakReport, path: Path) -> None:
    """Draw memory, latency, open files and threads over time."""
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
    minutes: Annotated[float, typer.Option(help="How long to send requests.")] = 20,
    photos: Annotated[
        Path | None, typer.Option(help="Folder of photos to post. Default: made-up photos.", exists=True)
    ] = None,
    every: Annotated[float, typer.Option(help="Seconds between two samples.")] = 10,
    capacity_seconds: Annotated[float, typer.Option(help="How long the capacity is measured.")] = CAPACITY_S,
    save: Annotated[Path | None, typer.Option(help="Write the report to this JSON file.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw the report into this PNG file.")] = None,
) -> None:
    """Print whether memory, open files, threads or latency grow."""
    bodies = read_photos(photos) if photos else make_photos()
    with serving() as service:
        report = uvloop.run(soak(service, bodies, minutes * 60, every, capacity_seconds))
    if save is not None:
        save.write_bytes(TypeAdapter(SoakReport).dump_json(report, indent=1) + b"\n")
    if plot is not None:
        draw(report, plot)
    console = Console(width=None if sys.stdout.isatty() else 100, highlight=False)
    console.print(quarter_table(report), *lines(report), sep="\n")


if __name__ == "__main__":
    try:
        typer.run(main)
    except ServiceFailed as exc:
        sys.exit(f"soak: {exc}")
