"""`mobilenet batch`: millions of photos, by Ray, with progress on standard error and a summary at the end."""

import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from enum import StrEnum
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich import box
from rich.bar import Bar
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from app import config
from app.cli import tables
from app.cli.chatter import silenced
from app.cli.embedding import end
from app.errors import StartError

if TYPE_CHECKING:
    from app.batch.tally import Tally
    from app.batch.work import Work

EVERY_S: Final = 30.0
"""How often progress is said where standard error is no terminal, such as in the log of a cluster."""
MOST_CLASSES: Final = 20
"""How many classes the bar chart has; ImageNet has a thousand."""
BAR_WIDTH: Final = 40
NEEDED: Final = ("ray", "pyarrow")


class Form(StrEnum):
    """The forms of the output."""

    PARQUET = "parquet"
    JSONL = "jsonl"


def batch(
    sources: Annotated[
        list[str],
        typer.Argument(
            help="Folders, files or quoted patterns, here or in object storage (s3://, gs://, abfs://, hf://): photos, "
            "tar archives (WebDataset), and Parquet files with a column of bytes or of paths."
        ),
    ],
    *,
    output: Annotated[str, typer.Option(help="Folder to write, here or in object storage.")],
    form: Annotated[Form, typer.Option("--format", help="Form of the rows.")] = Form.PARQUET,
    top_k: Annotated[int | None, typer.Option(help="How many classes to write for each photo. Default: 5.")] = None,
    embedding: Annotated[bool, typer.Option("--embedding", help="Write the embedding of each photo, too.")] = False,
    column: Annotated[
        str | None,
        typer.Option(help="Column of the photos' bytes or paths in Parquet files. Default: the only one it can be."),
    ] = None,
    names: Annotated[
        str | None, typer.Option(help="Column that names the photos whose bytes are in Parquet files.")
    ] = None,
    rows: Annotated[
        int, typer.Option(min=1, help="Photos for one file of the output: what is lost if a node dies in its middle.")
    ] = 256,
    address: Annotated[
        str | None,
        typer.Option(help="Address of a Ray cluster; auto: the one that this runs on. Default: this machine's CPUs."),
    ] = None,
    gpus: Annotated[
        bool, typer.Option("--gpus", help="A model for each GPU instead of each CPU, with MOBILENET_ENGINE=tensorflow.")
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a job that was interrupted.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show what Ray says, too.")] = False,
) -> None:
    """Classify millions of photos, by Ray, on this machine or on a cluster, and write a row for each.

    The exit code is 1 if some photos failed; these have an error in their row.
    """
    settings = config.load()
    if gpus and settings.engine != "tensorflow":
        raise StartError("--gpus needs MOBILENET_ENGINE=tensorflow: LiteRT runs on CPUs")
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        raise StartError(f"batches need {' and '.join(missing)}: install the extra 'ray'")
    from app.batch import job
    from app.batch.source import Source

    order = job.Order(
        source=Source(tuple(sources), rows, column, names),
        output=output,
        form=form.value,
        top_k=top_k,
        embedding=embedding,
        address=address,
        gpus=gpus,
        resume=resume,
        verbose=verbose,
    )
    began = time.monotonic()
    with nullcontext() if verbose else silenced():
        work = job.prepare(order, settings)
        with tracked(work) as progress, closing(job.run(order, settings, work)) as tallies:
            for tally in tallies:
                progress.add(tally)
    total = progress.total
    tables.show(summary(total, time.monotonic() - began))
    tables.show(chart(total))
    end(total.failed, total.photos)


class Track:
    """How far a job is: a bar on a terminal, otherwise a line from time to time."""

    def __init__(self, progress: Progress, task: TaskID, pieces: int, photos: int | None) -> None:
        from app.batch.tally import Tally

        self.total = Tally()
        self._progress, self._task = progress, task
        self._pieces, self._photos = pieces, photos
        self._done = 0
        self._began = self._said = time.monotonic()

    def add(self, tally: "Tally") -> None:
        """Hear what came of one more piece."""
        self.total.add(tally)
        self._done += 1
        self._progress.update(self._task, advance=1, description=self._text())
        now = time.monotonic()
        if self._progress.disable and now - self._said >= EVERY_S:
            self._said = now
            left_s = (now - self._began) / self._done * (self._pieces - self._done)
            print(f"mobilenet: {self._text()}, {duration(left_s)} left", file=sys.stderr, flush=True)

    def _text(self) -> str:
        photos = f"{self.total.photos:,}" + ("" if self._photos is None else f" of {self._photos:,}")
        new = self.total.photos - self.total.already
        return f"{photos} photos, {new / max(1e-9, time.monotonic() - self._began):,.0f}/s"


@contextmanager
def tracked(work: "Work") -> Iterator[Track]:
    """Show how far a job is while it runs."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        yield Track(progress, progress.add_task("starting", total=len(work)), len(work), work.photos)


def summary(total: "Tally", seconds: float) -> Table:
    """Return what a job came to: photos, errors by kind, time, and what it cost."""
    table = Table(box=box.SIMPLE, show_header=False, pad_edge=False)
    table.add_column()
    table.add_column(justify="right")
    new = total.photos - total.already
    table.add_row("photos", f"{total.photos:,}")
    if total.already:
        table.add_row("written before", f"{total.already:,}")
    for code, count in total.errors.most_common():
        table.add_row(f"error {code}", f"{count:,}")
    table.add_row("time", duration(seconds))
    table.add_row("photos per second", f"{new / seconds:,.1f}")
    table.add_row("MACs", f"{total.macs:,}")
    table.add_row("CPU time", f"{total.cpu_s:,.1f} s")
    return table


def chart(total: "Tally") -> Table:
    """Return the most frequent classes, each with a bar."""
    table = Table("most probable class", "photos", "", box=box.SIMPLE, pad_edge=False)
    table.columns[1].justify = "right"
    found = total.classes.most_common(MOST_CLASSES)
    for label, count in found:
        table.add_row(escape(label), f"{count:,}", Bar(found[0][1], 0, count, width=BAR_WIDTH))
    if others := len(total.classes) - len(found):
        table.add_row(f"{others:,} others", f"{total.classes.total() - sum(count for _, count in found):,}", "")
    return table


def duration(seconds: float) -> str:
    """Return a time as people read it: `42 s`, `3 min 12 s` or `2 h 05 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"
