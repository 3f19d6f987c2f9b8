"""Compare this service with other servers of the same model: `python -m tools.bench`, or `make bench`.

Contenders take turns, each started anew, and whole rounds are repeated. The client runs on the same CPUs as the server,
so figures are lower than on a machine with a client of its own. Only ratios within one run should be compared.
"""

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
import uvloop
from rich.console import Console

from app.config import Settings
from app.engines.base import Probabilities
from app.imaging.formats import SUFFIXES
from app.mobilenet.variants import Precision
from app.model.latency import machine
from app.runtime.local import in_process
from app.runtime.pipeline import Job
from tools.bench import wrk
from tools.bench.contenders import (
    CONTENDERS,
    FOLDER,
    Contender,
    ContenderFailed,
    check,
    environment,
    model_file,
    ours_in,
    pinned,
    running,
)
from tools.bench.disturbance import Others
from tools.bench.loop import loop
from tools.bench.peers import classify
from tools.bench.plots import draw
from tools.bench.results import DISTURBED, FILE, LOOP, Report, Run, knee, markdown, read, save
from tools.bench.wrk import Load
from tools.load.loops import closed_loop, open_loop
from tools.load.messages import Message, make_photos, post
from tools.load.result import OK, LoadResult

PHOTOS = {"small": (16, 224, 224, 75), "large": (16, 500, 375, 93), "phone": (4, 4032, 3024, 80)}
"""The number of photos of each kind, their width and height in pixels, and their JPEG quality."""
PHOTOS_OF_FOLDER = 16
CONNECTIONS = (1, 8, 32, 128)
STEPS = (0.3, 0.5, 0.7, 0.9, 1.0, 1.2)
"""The rates of open loops, as parts of the capacity. The first rate that is too high is the last one that is tried."""
WARM_UP_S = 1.0
ATTEMPTS = 3
PRECISIONS: tuple[Precision, ...] = ("float32", "int8")
CLIENT = "wrk, for open loops tools/load" if wrk.installed() else "tools/load"
console = Console(stderr=True, highlight=False)


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


def photos_of(kind: str) -> list[bytes]:
    """Return the photos of a kind, or as many from all over a folder. Raises `ContenderFailed` if there are none."""
    if kind in PHOTOS:
        return make_photos(*PHOTOS[kind])
    files = sorted(path for path in Path(kind).rglob("*") if path.suffix.lower() in SUFFIXES)
    if not files:
        raise ContenderFailed(f"{kind} is neither one of {', '.join(PHOTOS)} nor a folder with photos")
    return [path.read_bytes() for path in files[:: max(1, len(files) // PHOTOS_OF_FOLDER)][:PHOTOS_OF_FOLDER]]


async def _closed(url: str, bodies: Sequence[bytes], messages: Sequence[Message], connections: int, s: float) -> Load:
    if wrk.installed():
        return wrk.closed_loop(url, bodies, connections=connections, seconds=s)
    return load_of(await closed_loop(url, messages, connections=connections, seconds=s))


async def _loaded(url: str, name: str, number: int, plan: BenchPlan) -> list[Run]:
    found = []
    for photos, bodies in plan.photos.items():
        messages = [Message(post(url, body)) for body in bodies]
        await closed_loop(url, messages, connections=max(plan.connections), seconds=WARM_UP_S)
        capacity = 0.0
        for connections in plan.connections:
            for _ in range(ATTEMPTS):
                others = Others()
                load = await _closed(url, bodies, messages, connections, plan.seconds)
                share = others.share(plan.cpus)
                found.append(Run(number, name, photos, connections, None, load.requests_per_s, *load, share))
                if share <= DISTURBED:
                    break
            capacity = max(capacity, load.requests_per_s)
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
        check(contender.name, url, bodies, _expected(contender, settings, bodies))
        return uvloop.run(_loaded(url, contender.name, number, plan))


def _expected(contender: Contender, settings: Settings, bodies: Sequence[bytes]) -> list[Probabilities]:
    """Return the answers of the service's own model to the photos, decoded as this contender decodes them."""
    pipeline = in_process(settings.model_copy(update={"precision": contender.precision}))
    if contender.packages:
        predict = pipeline.models[0].engine.predict
        return [predict(list(classify.decode(body, settings.resolution))).probabilities[0] for body in bodies]
    results = pipeline.run([Job(body, (settings.variant,)) for body in bodies], large=True)
    return [result[0].probabilities for result in results if isinstance(result, tuple)]


def _bare(precision: Precision, settings: Settings, number: int, plan: BenchPlan) -> Iterator[Run]:
    settings = settings.model_copy(update={"precision": precision})
    for photos, bodies in plan.photos.items():
        for processes in sorted({1, plan.cpus}):
            others = Others()
            times = loop(settings, bodies, processes, plan.seconds)
            share = others.share(plan.cpus)
            outcomes = np.full(len(times), OK, np.int16)
            zeros = np.zeros(len(times))
            result = LoadResult(0.0, plan.seconds, outcomes, zeros, zeros, zeros, times)
            load = load_of(result)
            yield Run(number, f"{LOOP}{precision}", photos, processes, None, load.requests_per_s, *load, share)


def _versions(contenders: Sequence[Contender]) -> dict[str, list[str]]:
    found = {each.name: [name for name in each.packages if "==" in name] for each in contenders}
    shared = {name for each in CONTENDERS for name in each.packages if "==" not in name}
    return {name: packages for name, packages in found.items() if packages} | {"of the service": pinned(sorted(shared))}


def _report(contenders: Sequence[Contender], settings: Settings, plan: BenchPlan, earlier: Report | None) -> Report:
    sizes = {name: sum(map(len, bodies)) // len(bodies) for name, bodies in plan.photos.items()}
    return Report(
        date=date.today().isoformat(),
        machine=f"{machine()}, which the client ({CLIENT}) shares",
        command=f"python -m tools.bench {' '.join(sys.argv[1:])}",
        model=f"{settings.weights}, {settings.variant}",
        photo_bytes=(earlier.photo_bytes if earlier else {}) | sizes,
        versions=(earlier.versions if earlier else {}) | _versions(contenders),
        runs=list(earlier.runs) if earlier else [],
    )


def _save(report: Report, folder: Path) -> None:
    save(report, folder)
    (folder / "report.md").write_text(markdown(report))
    draw(report, folder / "report.png")


def main(
    only: Annotated[
        list[str] | None, typer.Option(help="Contenders whose names have this in them. Default: all.")
    ] = None,
    against: Annotated[
        list[Path] | None, typer.Option(help="Checkouts of this repository whose service is a contender too.")
    ] = None,
    photos: Annotated[
        list[str] | None,
        typer.Option(help=f"Some of {', '.join(PHOTOS)}, or folders of photos. Default: the three kinds."),
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
    """Print how this service compares with others, and save the report."""
    cpus = len(os.sched_getaffinity(0))
    everyone = (*CONTENDERS, *map(ours_in, against or ()))
    chosen = [each for each in everyone if not only or any(word in each.name for word in only)]
    plan = BenchPlan(
        photos={kind: photos_of(kind) for kind in photos or PHOTOS},
        connections=connections or CONNECTIONS,
        steps=[part for part in steps or STEPS if part],
        seconds=seconds,
        cpus=cpus,
    )
    settings = Settings(alpha=alpha, resolution=resolution, weights="imagenette", model_threads=1)
    for contender in chosen:
        environment(contender)
        model_file(settings, contender.keras)
    earlier = read(folder) if add and (folder / FILE).is_file() else None
    report = _report(chosen, settings, plan, earlier)
    first = 1 + max((run.round for run in report.runs), default=0)
    for number in range(first, first + rounds):
        for contender in chosen:
            console.print(f"round {number}: {contender.name}")
            report.runs.extend(_serve(contender, settings, number, plan))
        for precision in PRECISIONS:
            if not only or any(word in f"{LOOP}{precision}" for word in only):
                console.print(f"round {number}: {LOOP}{precision}")
                report.runs.extend(_bare(precision, settings, number, plan))
        _save(report, folder)  # after each round, so that an interrupted comparison keeps the rounds that it finished
    print(markdown(report))


if __name__ == "__main__":
    try:
        typer.run(main)
    except ContenderFailed as exc:
        sys.exit(f"bench: {exc}")
