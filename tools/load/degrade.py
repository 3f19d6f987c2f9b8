"""What degrading brings at three times the capacity of the default variant: who is refused else gets a smaller one.

Starts `mobilenet serve` with the settings of the environment, which name the variants, and loads it from this process,
on a processor of its own where there are two. Photos lie in folders named by the WordNet id of their class, as those of
ImageNet and Imagenette do, so that what is answered can be counted right or wrong.
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

from tools.load.generator import MOST_PHOTOS, OK, Message, Result, closed_loop, format_number, open_loop, post, shown
from tools.load.service import ServiceFailed, serving

CONNECTIONS = 32
WARM_UP_S = 3.0


@dataclass(slots=True)
class Tally:
    """How many answers were right and wrong, by the variant that gave them."""

    right: Counter[str] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)

    def note(self, expected: str, status: int, body: bytes) -> None:
        """Count an answer, if it is one, to a photo of this class."""
        if status != OK:
            return
        answer = json.loads(body)
        model = answer["model"]
        right = answer["results"][0]["predictions"][0]["wordnet_id"] == expected
        (self.right if right else self.wrong)[f"{model['alpha']:g}/{model['resolution']}"] += 1

    @property
    def answered(self) -> Counter[str]:
        """How many answers each variant gave."""
        return self.right + self.wrong


@dataclass(frozen=True, slots=True)
class Step:
    """One load: rates of what ended while requests were sent; milliseconds of answers 200; shares are 0 to 1.

    `top1` is of what was answered, `right_per_s` is how many right answers there were a second.
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


def step(name: str, result: Result, tally: Tally) -> Step:
    """Summarise a load."""
    top1 = tally.right.total() / max(1, tally.answered.total())
    return Step(
        name=name,
        offered_per_s=result.offered_per_s,
        goodput_per_s=result.goodput_per_s,
        refused_per_s=result.ended_per_s.get("429", 0.0),
        p50_ms=result.percentile_ms(50),
        p95_ms=result.percentile_ms(95),
        client_lag_p99_ms=result.lag_p99_ms,
        top1=top1,
        right_per_s=top1 * result.goodput_per_s,
        answered=dict(tally.answered),
    )


def read_classes(folder: Path) -> list[tuple[bytes, str]]:
    """Return up to `MOST_PHOTOS` photos, evenly taken, each with the name of its folder."""
    paths = sorted(path for path in folder.glob("*/*") if path.is_file())
    return [(path.read_bytes(), path.parent.name) for path in paths[:: -(-len(paths) // MOST_PHOTOS) or 1]]


async def measure(url: str, photos: list[tuple[bytes, str]], seconds: float, times: float) -> list[Step]:
    """Find the capacity of the default variant, then offer so many times of it, without and with degrading."""

    def messages(tally: Tally, query: str) -> list[Message]:
        return [Message(post(url, body, query), on_answer=partial(tally.note, name)) for body, name in photos]

    tally = Tally()
    alone = messages(tally, "")
    await closed_loop(url, alone, connections=CONNECTIONS, seconds=WARM_UP_S)
    tally.right.clear()
    tally.wrong.clear()
    work = closed_loop(url, alone, connections=CONNECTIONS, seconds=seconds)
    steps = [step("capacity", await shown(work, "capacity", seconds), tally)]
    rate_per_s = times * steps[0].goodput_per_s
    for query in ("", "degrade=allow"):
        tally = Tally()
        name = f"{times:g} × it, {query or 'refusing'}"
        load = open_loop(url, messages(tally, query), rate_per_s=rate_per_s, seconds=seconds)
        steps.append(step(name, await shown(load, name, seconds), tally))
    return steps


ROWS: dict[str, Callable[[Step], str]] = {
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


def table(title: str, steps: list[Step]) -> Table:
    """Return the table with a column for each step."""
    shown_table = Table("", title=title)
    for one in steps:
        shown_table.add_column(one.name, justify="right")
    for name, value in ROWS.items():
        shown_table.add_row(name, *map(value, steps))
    return shown_table


def main(
    photos: Annotated[Path, typer.Option(help="Folder with a folder of photos for each class.", exists=True)],
    seconds: Annotated[float, typer.Option(help="Of each load.")] = 20,
    times: Annotated[float, typer.Option(help="The capacity to offer.")] = 3,
    save: Annotated[Path | None, typer.Option(help="Put what was measured into this JSON file.")] = None,
) -> None:
    """Print what is answered, how fast and how rightly, with and without degrading."""
    *cpus, last = sorted(os.sched_getaffinity(0))
    if cpus:
        os.sched_setaffinity(0, {last})
    with serving(cpus=cpus or [last]) as process:
        steps = uvloop.run(measure(process.url, read_classes(photos), seconds, times))
        title = f"{process.model()}, {len(cpus or [last])} CPUs"
    if save is not None:
        save.write_bytes(TypeAdapter(list[Step]).dump_json(steps, indent=1) + b"\n")
    Console(width=None if sys.stdout.isatty() else 120, highlight=False).print(table(title, steps))


if __name__ == "__main__":
    try:
        typer.run(main)
    except ServiceFailed as exc:
        sys.exit(f"degrade: {exc}")
