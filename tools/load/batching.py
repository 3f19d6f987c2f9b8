"""Measures when batches pay: the time of an image by the size of its batch, and the batches that a load leads to.

The engines run in this process on one thread and take turns, so that other work on the machine disturbs all of them
alike. Then `mobilenet serve` is put under load by more and more connections, once with batches of up to eight images
and once with batches of one.
"""

import json
import os
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import httpx
import matplotlib.figure
import numpy as np
import typer
import uvloop
from rich.console import Console
from tqdm import tqdm

from app import environment
from app.config import Settings
from app.engines.base import Engine, patterns
from app.model import loading
from app.model.latency import machine
from tools.load.loops import closed_loop
from tools.load.messages import Message, make_photos, post
from tools.load.service import ServiceFailed, serving

SIZES = (1, 2, 4, 8, 16, 32)
CONNECTIONS = (1, 2, 4, 8, 16, 32, 64)
LIMITS = (8, 1)
"""The values of `MOBILENET_MAX_BATCH_SIZE` to compare."""
ENGINES: dict[str, dict[str, str]] = {
    "LiteRT, float32": {"engine": "litert", "precision": "float32"},
    "LiteRT, int8": {"engine": "litert", "precision": "int8"},
    "TensorFlow, float32": {"engine": "tensorflow", "precision": "float32"},
}
BATCH_SUM = re.compile(r"^mobilenet_batch_images_(sum|count){[^}]*} (\S+)$", re.M)


@dataclass(frozen=True, slots=True)
class Speed:
    """How many milliseconds an engine takes for an image in batches of this size."""

    engine: str
    size: int
    image_ms: float


@dataclass(frozen=True, slots=True)
class Served:
    """What so many connections got from a service with batches of up to `limit`; `batch_size` is the mean size."""

    limit: int
    connections: int
    requests_per_s: float
    p50_ms: float
    p99_ms: float
    batch_size: float


def measure(engines: Mapping[str, Engine], resolution: int, seconds: float) -> list[Speed]:
    """Run batches of every size in every engine, in turns, for so many seconds altogether; return the medians."""
    images = list(patterns(max(SIZES), resolution))
    times: dict[tuple[str, int], list[float]] = {(name, size): [] for name in engines for size in SIZES}
    for number in range(1 + len(SIZES)):  # the first round only warms the engines up
        end = time.perf_counter() + seconds / (1 + len(SIZES))
        while time.perf_counter() < end:
            for (name, size), found in times.items():
                taken = _seconds(engines[name], images[:size])
                if number:
                    found.append(taken / size)
    return [Speed(name, size, 1000 * median(found)) for (name, size), found in times.items()]


def _seconds(engine: Engine, images: Sequence[Any]) -> float:
    engine.predict(images)  # not timed: if the size has changed, this run allocates memory
    started = time.perf_counter()
    engine.predict(images)
    return time.perf_counter() - started


def serve(limit: int, seconds: float, note: Callable[[], object]) -> list[Served]:
    """Put a service with batches of up to `limit` under load by more and more connections; `note` follows each load."""
    os.environ["MOBILENET_MAX_BATCH_SIZE"] = str(limit)
    photos = make_photos()
    found = []
    with serving() as process:
        messages = [Message(post(process.url, photo)) for photo in photos]
        uvloop.run(closed_loop(process.url, messages, connections=8, seconds=1))
        for connections in CONNECTIONS:
            before = _batches(process.url)
            load = closed_loop(process.url, messages, connections=connections, seconds=seconds)
            result = uvloop.run(load)
            images, runs = np.subtract(_batches(process.url), before)
            times = (result.percentile_ms(50), result.percentile_ms(99))
            found.append(Served(limit, connections, result.goodput_per_s, *times, images / runs))
            note()
    return found


def _batches(url: str) -> tuple[float, float]:
    sums = dict(BATCH_SUM.findall(httpx.get(f"{url}/metrics").text))
    return float(sums.get("sum", 0)), float(sums.get("count", 0))


def draw(speeds: Sequence[Speed], served: Sequence[Served], path: Path) -> None:
    """Draw the time of an image by the size of its batch, and the service by the number of connections."""
    figure = matplotlib.figure.Figure(figsize=(13, 4), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    for name in dict.fromkeys(speed.engine for speed in speeds):
        mine = [speed for speed in speeds if speed.engine == name]
        left.plot([speed.size for speed in mine], [speed.image_ms for speed in mine], marker="o", label=name)
    left.set(xlabel="images in a batch", ylabel="ms per image", title="The model alone, on one thread", ylim=0)
    for limit in LIMITS:
        mine_ = [one for one in served if one.limit == limit]
        steps, label = [one.connections for one in mine_], f"batches of up to {limit}"
        middle.plot(steps, [one.requests_per_s for one in mine_], marker="o", label=label)
        right.plot(steps, [one.batch_size for one in mine_], marker="o", label=label)
    middle.set(xlabel="connections", ylabel="requests/s", title="The service", ylim=0)
    right.set(xlabel="connections", ylabel="images in a batch", title="The batches that it makes", ylim=0)
    for axes in (left, middle, right):
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter("{x:g}")
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(path, dpi=110)


def tables(speeds: Sequence[Speed], served: Sequence[Served]) -> str:
    """Return both measurements as tables in Markdown."""
    names = list(dict.fromkeys(speed.engine for speed in speeds))
    times = {(speed.engine, speed.size): speed.image_ms for speed in speeds}
    lines = [f"| ms per image, batches of | {' | '.join(map(str, SIZES))} |", "| --- |" + " ---: |" * len(SIZES)]
    lines += [f"| {name} | {' | '.join(f'{times[name, size]:.2f}' for size in SIZES)} |" for name in names]
    lines += ["", "| batches of up to | connections | requests/s | p50, p99 (ms) | images in a batch |"]
    lines += ["| ---: | ---: | ---: | ---: | ---: |"]
    lines += [
        f"| {one.limit} | {one.connections} | {one.requests_per_s:.0f} | {one.p50_ms:.1f}, {one.p99_ms:.1f} | "
        f"{one.batch_size:.2f} |"
        for one in served
    ]
    return "\n".join(lines)


def main(
    seconds: Annotated[float, typer.Option(help="Length of each load; the engines run for five times as long.")] = 4,
    save: Annotated[Path | None, typer.Option(help="Write the figures to this JSON file.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw the figures into this PNG file.")] = None,
) -> None:
    """Measure with the settings of the environment, and print two tables in Markdown."""
    settings = environment.load()
    console = Console(stderr=True, highlight=False)
    console.print("the engines")
    engines = {name: _engine(settings, how) for name, how in ENGINES.items()}
    speeds = measure(engines, settings.resolution, 5 * seconds)
    with tqdm(total=len(LIMITS) * len(CONNECTIONS), desc="loads") as bar:
        served = [one for limit in LIMITS for one in serve(limit, seconds, bar.update)]
    if save:
        about = {"date": date.today().isoformat(), "machine": machine(), "model": str(settings.variant)}
        figures = {"engines": [asdict(one) for one in speeds], "service": [asdict(one) for one in served]}
        save.write_text(json.dumps(about | figures, indent=1) + "\n")
    if plot:
        draw(speeds, served, plot)
    print(tables(speeds, served))


def _engine(settings: Settings, how: dict[str, str]) -> Engine:
    return loading.load(settings.model_copy(update=how | {"model_threads": 1})).engine


if __name__ == "__main__":
    try:
        typer.run(main)
    except ServiceFailed as exc:
        sys.exit(f"batching: {exc}")
