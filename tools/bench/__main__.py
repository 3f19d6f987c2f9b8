"""Compare this service with other servers of the same model: `python -m tools.bench`, or `make bench`.

Contenders take turns, each started anew, and whole rounds are repeated. The client runs on the same CPUs as the server,
so figures are lower than on a machine with a client of its own. Only ratios within one run should be compared.
"""

import os
import shlex
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
import uvloop
from rich.console import Console

from app.config import Settings
from app.mobilenet.variants import Precision
from app.model.latency import machine
from tools.bench import wrk
from tools.bench.answers import check
from tools.bench.contenders import CONTENDERS, FOLDER, Contender, ContenderFailed, chosen, ours_in
from tools.bench.disturbance import Others
from tools.bench.environments import environment, versions
from tools.bench.kinds import KINDS, MIX, SAMPLES, default_kinds, photos_of
from tools.bench.loop import loop
from tools.bench.models import model_file
from tools.bench.plots import draw
from tools.bench.results import DISTURBED, FILE, LOOP, Report, Run, knee, read, save
from tools.bench.running import running
from tools.bench.tables import goal_table, markdown, overview
from tools.bench.wrk import Load
from tools.load.loops import closed_loop, open_loop
from tools.load.messages import Message, post
from tools.load.result import OK, LoadResult

CONNECTIONS = (1, 8, 32, 128)
STEPS = (0.3, 0.5, 0.7, 0.9, 1.0, 1.2)
"""The rates of open loops, as parts of the capacity. The first rate that is too high is the last one that is tried."""
WARM_UP_S = 1.0
ATTEMPTS = 3
LOOPS: dict[str, Precision] = {f"{LOOP}{precision}": precision for precision in ("float32", "int8")}
CLIENT = "wrk, for open loops tools/load" if wrk.installed() else "tools/load"
console = Console(stderr=True, highlight=False, soft_wrap=True)


@dataclass(frozen=True, slots=True)
class BenchPlan:
    """The loads that each contender is measured with, and how long each lasts."""

    photos: dict[str, list[bytes]]
    connections: Sequence[int]
    steps: Sequence[float]
    seconds: float
    cpus: int


def load_of(result: LoadResult) -> Load:
    """Summarise a load that came from our own client instead of wrk."""
    p50_ms, p95_ms, p99_ms = (result.percentile_ms(percent) for percent in (50, 95, 99))
    success = result.counts.get(str(OK), 0) / max(1, len(result.outcomes))
    return Load(result.goodput_per_s, p50_ms, p95_ms, p99_ms, success)


async def _closed(url: str, bodies: Sequence[bytes], messages: Sequence[Message], connections: int, s: float) -> Load:
    if wrk.installed():
        return wrk.closed_loop(url, bodies, connections=connections, seconds=s)
    return load_of(await closed_loop(url, messages, connections=connections, seconds=s))


async def _attempts(measure: Callable[[], Awaitable[Load]], cpus: int) -> AsyncIterator[tuple[Load, float]]:
    """Measure until other processes did not disturb it, a few times; yield each load, and the share of the others."""
    for _ in range(ATTEMPTS):
        others = Others()
        load = await measure()
        share = others.share(cpus)
        yield load, share
        if share <= DISTURBED:
            return


async def _loaded(url: str, name: str, number: int, plan: BenchPlan) -> list[Run]:
    found = []
    for photos, bodies in plan.photos.items():
        messages = [Message(post(url, body)) for body in bodies]
        await closed_loop(url, messages, connections=max(plan.connections), seconds=WARM_UP_S)
        capacity = 0.0
        for connections in plan.connections:
            measure = partial(_closed, url, bodies, messages, connections, plan.seconds)
            async for load, share in _attempts(measure, plan.cpus):
                found.append(Run(number, name, photos, connections, None, load.requests_per_s, *load, share))
            capacity = max(capacity, found[-1].requests_per_s)
        for part in plan.steps:
            rate = capacity * part
            others = Others()
            result = await open_loop(url, messages, rate_per_s=rate, seconds=plan.seconds)
            share = others.share(plan.cpus)
            found.append(Run(number, name, photos, None, part, result.offered_per_s, *load_of(result), share))
            if knee(found[-1].success, found[-1].requests_per_s, rate):
                break
    return found


def _serve(contender: Contender, settings: Settings, number: int, plan: BenchPlan) -> list[Run]:
    bodies = [body for group in plan.photos.values() for body in group]
    with running(contender, settings, plan.cpus, bodies[0]) as url:
        check(contender, settings, url, bodies)
        return uvloop.run(_loaded(url, contender.name, number, plan))


async def _bare(name: str, settings: Settings, number: int, plan: BenchPlan) -> list[Run]:
    settings = settings.model_copy(update={"precision": LOOPS[name]})
    found = []
    for photos, bodies in plan.photos.items():
        for processes in sorted({1, plan.cpus}):
            measure = partial(_looped, settings, bodies, processes, plan.seconds)
            async for load, share in _attempts(measure, plan.cpus):
                found.append(Run(number, name, photos, processes, None, load.requests_per_s, *load, share))
    return found


async def _looped(settings: Settings, bodies: Sequence[bytes], processes: int, seconds: float) -> Load:
    times = loop(settings, bodies, processes, seconds)
    zeros = np.zeros(len(times))
    return load_of(LoadResult(0.0, seconds, np.full(len(times), OK, np.int16), zeros, zeros, zeros, times))


def _report(contenders: Sequence[Contender], settings: Settings, plan: BenchPlan, earlier: Report | None) -> Report:
    """Return a report without runs, or with those of an earlier one, whose dates and commands it keeps."""
    sizes = {name: sum(map(len, bodies)) // len(bodies) for name, bodies in plan.photos.items()}
    new = Report(
        date=date.today().isoformat(),
        machine=f"{machine()}, which the client ({CLIENT}) shares",
        command=shlex.join(["python", "-m", "tools.bench", *sys.argv[1:]]),
        model=f"{settings.weights}, {settings.variant}",
        photo_bytes=sizes,
        versions=versions(contenders),
        runs=[],
    )
    if earlier is None:
        return new
    if (earlier.model, earlier.machine) != (new.model, new.machine):
        raise ContenderFailed(
            f"--add: the report that is there is of {earlier.model} on {earlier.machine}, and not of {new.model} on "
            f"{new.machine}; choose another --folder"
        )
    return replace(
        new,
        date=_listed(earlier.date, new.date, " and "),
        command=_listed(earlier.command, new.command, "\n"),
        photo_bytes=earlier.photo_bytes | new.photo_bytes,
        versions=earlier.versions | new.versions,
        runs=list(earlier.runs),
    )


def _listed(earlier: str, new: str, between: str) -> str:
    return between.join(dict.fromkeys([*earlier.split(between), new]))


def _save(report: Report, folder: Path) -> None:
    save(report, folder)
    (folder / "report.md").write_text(markdown(report))
    draw(report, folder / "report.png")


def main(
    only: Annotated[
        list[str] | None,
        typer.Option(help="Contenders of this name, or with this in their names. Default: all without OpenVINO."),
    ] = None,
    against: Annotated[
        list[Path] | None, typer.Option(help="Checkouts of this repository whose service is a contender too.")
    ] = None,
    photos: Annotated[
        list[str] | None, typer.Option(help=f"Some of {', '.join(KINDS)}, or folders of photos. Default: all kinds.")
    ] = None,
    connections: Annotated[
        list[int] | None, typer.Option(help="Numbers of connections of closed loops. Default: 1, 8, 32, 128.")
    ] = None,
    rounds: Annotated[int, typer.Option(help="How many turns each contender has.")] = 5,
    seconds: Annotated[float, typer.Option(help="Length of each load.")] = 10,
    steps: Annotated[
        list[float] | None,
        typer.Option(help="Rates of open loops as parts of the capacity, until one is too high. 0: no open loops."),
    ] = None,
    alpha: Annotated[float, typer.Option(help="Width multiplier α.")] = 0.25,
    resolution: Annotated[int, typer.Option(help="Side of the network's input in pixels.")] = 128,
    add: Annotated[bool, typer.Option(help="Add the rounds to the report that is in the folder.")] = False,
    folder: Annotated[Path, typer.Option(help="Folder for report.json, report.md and report.png.")] = FOLDER / "report",
) -> None:
    """Print which goals the service meets beside others, and save the report."""
    cpus = len(os.sched_getaffinity(0))
    everyone = {each.name: each for each in (*CONTENDERS, *map(ours_in, against or ()))}
    names = chosen((*everyone, *LOOPS), only or ())
    plan = BenchPlan(
        photos={kind: photos_of(kind) for kind in photos or _default_kinds()},
        connections=connections or CONNECTIONS,
        steps=[part for part in steps or STEPS if part],
        seconds=seconds,
        cpus=cpus,
    )
    settings = Settings(alpha=alpha, resolution=resolution, weights="imagenette", model_threads=1)
    contenders = [everyone[name] for name in names if name in everyone]
    for contender in contenders:
        environment(contender)
        model_file(settings, contender)
    earlier = read(folder) if add and (folder / FILE).is_file() else None
    report = _report(contenders, settings, plan, earlier)
    first = 1 + max((run.round for run in report.runs), default=0)
    for number in range(first, first + rounds):
        for name in names:
            console.print(f"round {number}: {name}")
            if name in LOOPS:
                report.runs.extend(uvloop.run(_bare(name, settings, number, plan)))
            else:
                report.runs.extend(_serve(everyone[name], settings, number, plan))
        _save(report, folder)  # after each round, so that an interrupted comparison keeps the rounds that it finished
    print(f"{overview(report)}\n\n{goal_table(report)}\n\nEvery figure is in {folder / 'report.md'}.")


def _default_kinds() -> list[str]:
    found = default_kinds()
    if MIX not in found:
        console.print(f"{MIX} is left out, as its photos are absent: {SAMPLES}")
    return found


if __name__ == "__main__":
    try:
        typer.run(main)
    except ContenderFailed as exc:
        sys.exit(f"bench: {exc}")
