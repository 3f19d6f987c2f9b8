"""Measures what degrading brings at three times the capacity: smaller variants answer what would be refused otherwise.

It starts `mobilenet serve` with the settings of the environment, which name the variants, and puts it under load from
this process, which runs on a CPU of its own if there are two. The photos are in folders named after the WordNet id of
their class, like those of ImageNet and Imagenette, so that each answer can be counted as right or wrong.
"""

import json
import os
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
import uvloop
from pydantic import TypeAdapter
from rich.console import Console
from rich.table import Table

from tools.load.loops import closed_loop, open_loop
from tools.load.messages import MOST_PHOTOS, Message, post
from tools.load.report import format_number, with_progress
from tools.load.result import OK, LoadResult
from tools.load.service import ServiceFailed, serving

CONNECTIONS = 32
WARM_UP_S = 3.0


@dataclass(slots=True)
class AnswerCounts:
    """How many answers were right and how many wrong, by the variant that gave them."""

    right: Counter[str] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)

    def note(self, expected: str, status: int, body: bytes) -> None:
        """Count the answer to a photo of this class, unless the request failed."""
        if status != OK:
            return
        answer = json.loads(body)
        model = answer["model"]
        right = answer["results"][0]["predictions"][0]["wordnet_id"] == expected
        (self.right if right else self.wrong)[f"{model['alpha']:g}/{model['resolution']}"] += 1

    @property
    def answered(self) -> Counter[str]:
        """How many answers each variant gave, right or wrong."""
        return self.right + self.wrong


@dataclass(frozen=True, slots=True)
class DegradeStep:
    """One load. Rates are of what ended while requests were sent; latencies are of answers with status 200.

    `top1` is the share of the answers that are right, 0 to 1, and `right_per_s` how many right answers there were per
    second.
    """

    name: str
    offered_per_s: float
    goodput_per_s: float
    refused_per_s: float
    p50_ms: float
    p95_ms: float
    client_lag_p99_ms: float
    top1: float
    right_per_s: float
    answered: dict[str, int]


def step(name: str, result: LoadResult, counts: AnswerCounts) -> DegradeStep:
    """Summarise a load."""
    top1 = counts.right.total() / max(1, counts.answered.total())
    return DegradeStep(
        name=name,
        offered_per_s=result.offered_per_s,
        goodput_per_s=result.goodput_per_s,
        refused_per_s=result.ended_per_s.get("429", 0.0),
        p50_ms=result.percentile_ms(50),
        p95_ms=result.percentile_ms(95),
        client_lag_p99_ms=result.lag_p99_ms,
        top1=top1,
        right_per_s=top1 * result.goodput_per_s,
        answered=dict(counts.answered),
    )


def read_classes(folder: Path) -> list[tuple[bytes, str]]:
    """Return an evenly spaced selection of up to `MOST_PHOTOS` photos, each with the name of its folder."""
    paths = sorted(path for path in folder.glob("*/*") if path.is_file())
    return [(path.read_bytes(), path.parent.name) for path in paths[:: -(-len(paths) // MOST_PHOTOS) or 1]]


async def measure(url: str, photos: list[tuple[bytes, str]], seconds: float, times: float) -> list[DegradeStep]:
    """Find the capacity of the default variant, then offer so many times as much, without and with degrading."""

    def messages(counts: AnswerCounts, query: str) -> list[Message]:
        return [Message(post(url, body, query), on_answer=partial(counts.note, name)) for body, name in photos]

    await closed_loop(url, messages(AnswerCounts(), ""), connections=CONNECTIONS, seconds=WARM_UP_S)
    counts = AnswerCounts()
    work = closed_loop(url, messages(counts, ""), connections=CONNECTIONS, seconds=seconds)
    steps = [step("capacity", await with_progress(work, "capacity", seconds), counts)]
    rate_per_s = times * steps[0].goodput_per_s
    for query in ("", "degrade=allow"):
        counts = AnswerCounts()
        name = f"{times:g} × capacity, {query or 'refusing'}"
        load = open_loop(url, messages(counts, query), rate_per_s=rate_per_s, seconds=seconds)
        steps.append(step(name, await with_progress(load, name, seconds), counts))
    return steps


ROWS: dict[str, Callable[[DegradeStep], str]] = {
    "offered/s": lambda one: format_number(one.offered_per_s),
    "200/s": lambda one: format_number(one.goodput_per_s),
    "429/s": lambda one: format_number(one.refused_per_s),
    "p50 of 200, ms": lambda one: format_number(one.p50_ms),
    "p95 of 200, ms": lambda one: format_number(one.p95_ms),
    "client's own lag p99, ms": lambda one: format_number(one.client_lag_p99_ms),
    "top-1 of what was answered": lambda one: f"{one.top1:.1%}",
    "right answers/s": lambda one: format_number(one.right_per_s),
    "answered by": lambda one: ", ".join(f"{name}: {count:,}" for name, count in sorted(one.answered.items())),
}


def step_table(title: str, steps: list[DegradeStep]) -> Table:
    """Return a table with a column for each step."""
    table = Table("", title=title)
    for one in steps:
        table.add_column(one.name, justify="right")
    for name, value in ROWS.items():
        table.add_row(name, *map(value, steps))
    return table


def main(
    photos: Annotated[Path, typer.Option(help="Folder with a folder of photos for each class.", exists=True)],
    seconds: Annotated[float, typer.Option(help="Length of each load.")] = 20,
    times: Annotated[float, typer.Option(help="How many times its capacity the service is offered.")] = 3,
    save: Annotated[Path | None, typer.Option(help="Write the figures to this JSON file.")] = None,
) -> None:
    """Print how many requests are answered, how fast, and how many rightly, with and without degrading."""
    *cpus, last = sorted(os.sched_getaffinity(0))
    if cpus:
        os.sched_setaffinity(0, {last})
    with serving(cpus=cpus or [last]) as process:
        steps = uvloop.run(measure(process.url, read_classes(photos), seconds, times))
        title = f"{process.model()}, {len(cpus or [last])} CPUs"
    if save is not None:
        save.write_bytes(TypeAdapter(list[DegradeStep]).dump_json(steps, indent=1) + b"\n")
    Console(width=None if sys.stdout.isatty() else 120, highlight=False).print(step_table(title, steps))


if __name__ == "__main__":
    try:
        typer.run(main)
    except ServiceFailed as exc:
        sys.exit(f"degrade: {exc}")
