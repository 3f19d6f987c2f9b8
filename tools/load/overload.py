"""Measures the service at five times its capacity: how many requests it answers, how late, and in how much memory.

It starts `mobilenet serve` with the settings of the environment and puts it under load from this process. The client
takes CPU time from the service if they share a CPU, and the more is offered, the more it takes; so each has its own,
unless `--shared` is given. Only ratios within one run should be compared: absolute figures depend on the machine and on
what else it does. With `--bound` it also measures the most that any service could answer (`tools/load/bound.py`).
"""

import os
import sys
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from math import nan
from pathlib import Path
from typing import Annotated, Any

import typer
import uvloop
from pydantic import TypeAdapter
from rich.console import Console
from rich.table import Table

from tools.load import bound as bounds
from tools.load.loops import closed_loop, open_loop
from tools.load.messages import Message, make_photos, post, read_photos
from tools.load.report import format_number, meanwhile, with_progress
from tools.load.result import OK, TOO_MANY_REQUESTS, LoadResult, percentile
from tools.load.service import RunningService, Sample, ServiceFailed, serving

CONNECTIONS = 32
WARM_UP_S = 3.0
CAPACITY_S = 10.0
FULL_LOAD, OVERLOAD = 0.95, 5.0
"""The rates that are offered, as multiples of the capacity."""
SAMPLE_S = 1.0


@dataclass(frozen=True, slots=True)
class Step:
    """One load and what became of it.

    Percentiles are of answers with status 200 unless their name says otherwise, and nan if there were none. Rates are
    of the requests that ended while requests were sent, `counts` of all that ended. `connected` is how long a request
    waited until one of the client's connections, whose number is limited, was free. Memory is resident memory (RSS) in
    MB (10⁶ bytes).
    """

    name: str
    seconds: float
    offered_per_s: float
    ended_per_s: dict[str, float]
    counts: dict[str, int]
    goodput_per_s: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    refused_p50_ms: float
    connected_p50_ms: float
    client_lag_p99_ms: float
    rss_start_mb: float
    rss_most_mb: float
    rss_end_mb: float


@dataclass(frozen=True, slots=True)
class Ratios:
    """Overload in relation to something: goodput to the capacity, p99 to that at full load, memory to that before."""

    goodput: float
    p99: float
    rss: float


@dataclass(frozen=True, slots=True)
class OverloadReport:
    """All that was measured. `cpus` is the number of CPUs of the service; `bound` is there if it was asked for."""

    model: str
    cpus: int
    photos: int
    mean_photo_bytes: float
    steps: list[Step]
    ratios: Ratios
    bound: bounds.BoundReport | None = None


def step(name: str, result: LoadResult, samples: list[Sample]) -> Step:
    """Summarise a load, and the samples of the service that were taken from its start to its end."""
    memory = [sample.rss_mb for sample in samples]
    return Step(
        name=name,
        seconds=result.seconds,
        offered_per_s=result.offered_per_s,
        ended_per_s=result.ended_per_s,
        counts=result.counts,
        goodput_per_s=result.goodput_per_s,
        p50_ms=result.percentile_ms(50),
        p95_ms=result.percentile_ms(95),
        p99_ms=result.percentile_ms(99),
        refused_p50_ms=result.percentile_ms(50, TOO_MANY_REQUESTS),
        connected_p50_ms=percentile(result.wait_ms, 50),
        client_lag_p99_ms=result.lag_p99_ms,
        rss_start_mb=memory[0],
        rss_most_mb=max(memory),
        rss_end_mb=memory[-1],
    )


def ratios(capacity: Step, full: Step, over: Step) -> Ratios:
    """Compare the steps. A ratio is nan if the figure to compare with is 0."""
    return Ratios(
        goodput=_ratio(over.goodput_per_s, capacity.goodput_per_s),
        p99=_ratio(over.p99_ms, full.p99_ms),
        rss=_ratio(over.rss_end_mb, over.rss_start_mb),
    )


def _ratio(value: float, base: float) -> float:
    return value / base if base else nan


async def measured(
    service: RunningService,
    work: Coroutine[Any, Any, LoadResult],
    title: str,
    seconds: float,
    every_s: float = SAMPLE_S,
) -> tuple[LoadResult, list[Sample]]:
    """Await a load under a progress bar, and sample the service before it, every so many seconds, and after it."""
    samples = [service.sample()]
    load = meanwhile(work, every_s, lambda: samples.append(service.sample()))
    result = await with_progress(load, title, seconds)
    return result, [*samples, service.sample()]


async def find_capacity(service: RunningService, messages: list[Message], seconds: float) -> Step:
    """Measure the capacity by a closed loop, after a warm-up. Raises `ServiceFailed` if no answer has status 200."""
    await closed_loop(service.url, messages, connections=CONNECTIONS, seconds=min(WARM_UP_S, seconds))
    work = closed_loop(service.url, messages, connections=CONNECTIONS, seconds=seconds)
    name = f"capacity, {CONNECTIONS} connections"
    found = step(name, *await measured(service, work, name, seconds))
    if not found.goodput_per_s:
        raise ServiceFailed(f"no answer had status 200: {found.counts}")
    return found


async def measure(service: RunningService, messages: list[Message], seconds: float, capacity_s: float) -> list[Step]:
    """Find the capacity, then offer 95 % of it, then five times as much; return the three steps."""
    steps = [await find_capacity(service, messages, capacity_s)]
    for name, part in ((f"{FULL_LOAD * 100:g} % of it", FULL_LOAD), (f"{OVERLOAD:g} × capacity", OVERLOAD)):
        rate_per_s = part * steps[0].goodput_per_s
        work = open_loop(service.url, messages, rate_per_s=rate_per_s, seconds=seconds)
        steps.append(step(name, *await measured(service, work, name, seconds)))
    return steps


def measure_bound(
    service: RunningService, bodies: list[bytes], cpus: list[int], capacity_per_s: float, seconds: float
) -> bounds.BoundReport:
    """Measure the most that the goodput could be when five times this capacity is offered, and two floods."""
    loads = bounds.Loads(CONNECTIONS, OVERLOAD * capacity_per_s, (OVERLOAD - 1) * capacity_per_s, seconds)
    turns = bounds.measure(service.url, bodies, cpus, loads)
    return bounds.BoundReport.of(turns, bounds.measure_floods(bodies, cpus, seconds))


ROWS: dict[str, Callable[[Step], float]] = {
    "offered/s": lambda step: step.offered_per_s,
    "200/s": lambda step: step.goodput_per_s,
    "429/s": lambda step: step.ended_per_s.get(str(TOO_MANY_REQUESTS), 0.0),
    "p50 of 200, ms": lambda step: step.p50_ms,
    "p95 of 200, ms": lambda step: step.p95_ms,
    "p99 of 200, ms": lambda step: step.p99_ms,
    "p50 of 429, ms": lambda step: step.refused_p50_ms,
    "p50 until connected, ms": lambda step: step.connected_p50_ms,
    "client's own lag p99, ms": lambda step: step.client_lag_p99_ms,
    "RSS at start, MB": lambda step: step.rss_start_mb,
    "RSS at most, MB": lambda step: step.rss_most_mb,
    "RSS at end, MB": lambda step: step.rss_end_mb,
}


def step_table(report: OverloadReport) -> Table:
    """Return a table with a column for each step."""
    title = f"{report.model}, {report.cpus} CPUs, {report.mean_photo_bytes / 1000:.1f} KB per photo"
    table = Table("", title=title)
    for one in report.steps:
        table.add_column(one.name, justify="right")
    for name, value in ROWS.items():
        table.add_row(name, *(format_number(value(one)) for one in report.steps))
    table.add_row("others", *(_others(one.counts) for one in report.steps))
    return table


def _others(counts: dict[str, int]) -> str:
    known = {str(OK), str(TOO_MANY_REQUESTS)}
    return ", ".join(f"{count:,} × {name}" for name, count in counts.items() if name not in known) or "none"


def lines(found: Ratios) -> Iterator[str]:
    """Yield a line for each ratio."""
    yield f"goodput at overload / capacity: {format_number(found.goodput, 2)}"
    yield f"p99 at overload / p99 at full load: {format_number(found.p99, 2)}"
    yield f"RSS at the end of overload / at its start: {format_number(found.rss, 2)}"


def main(
    photos: Annotated[
        Path | None, typer.Option(help="Folder of photos to post. Default: made-up photos.", exists=True)
    ] = None,
    seconds: Annotated[float, typer.Option(help="Length of full load, and of overload.")] = 60,
    capacity_seconds: Annotated[
        float, typer.Option(help="How long the capacity is measured, and each load for --bound.")
    ] = CAPACITY_S,
    shared: Annotated[bool, typer.Option(help="Let the client run on the CPUs of the service.")] = False,
    bound: Annotated[
        bool,
        typer.Option(
            "--bound",
            help="Also measure what the service would answer if its refusals cost only what the kernel takes for them.",
        ),
    ] = False,
    save: Annotated[Path | None, typer.Option(help="Write the report to this JSON file.")] = None,
) -> None:
    """Print how the service answers at its capacity, just below it, and at five times its capacity."""
    bodies = read_photos(photos) if photos else make_photos()
    *cpus, last = sorted(os.sched_getaffinity(0))
    if cpus and not shared:
        os.sched_setaffinity(0, {last})
    else:
        cpus = [*cpus, last]
    with serving(cpus=cpus) as service:
        messages = [Message(post(service.url, body)) for body in bodies]
        steps = uvloop.run(measure(service, messages, seconds, capacity_seconds))
        model = service.model()
        capacity_per_s = steps[0].goodput_per_s
        found = measure_bound(service, bodies, cpus, capacity_per_s, capacity_seconds) if bound else None
    mean_bytes = sum(map(len, bodies)) / len(bodies)
    report = OverloadReport(model, len(cpus), len(bodies), mean_bytes, steps, ratios(*steps), found)
    if save is not None:
        save.write_bytes(TypeAdapter(OverloadReport).dump_json(report, indent=1) + b"\n")
    console = Console(width=None if sys.stdout.isatty() else 100, highlight=False)
    console.print(step_table(report), *lines(report.ratios), *(bounds.lines(found) if found else ()), sep="\n")


if __name__ == "__main__":
    try:
        typer.run(main)
    except ServiceFailed as exc:
        sys.exit(f"overload: {exc}")
