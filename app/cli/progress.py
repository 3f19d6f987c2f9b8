"""How far a job of `mobilenet batch` is while it runs, and what it came to."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from rich import box
from rich.bar import Bar
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from app.batch.tally import Tally
from app.cli.streams import printable

if TYPE_CHECKING:
    from app.batch.work import Work

EVERY_S: Final = 30.0
"""How often progress is said where standard error is no terminal, such as in the log of a cluster."""
MOST_CLASSES: Final = 20
"""How many classes the bar chart has; ImageNet has a thousand."""
BAR_WIDTH: Final = 40


class Track:
    """How far a job is: a bar on a terminal, otherwise a line from time to time."""

    def __init__(self, progress: Progress, task: TaskID, pieces: int, photos: int | None) -> None:
        self.total = Tally()
        self._progress, self._task = progress, task
        self._pieces, self._photos = pieces, photos
        self._done = 0
        self._began = self._said = time.monotonic()

    def add(self, tally: Tally) -> None:
        """Count one more piece as done, with what came of it."""
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


def summary(total: Tally, seconds: float) -> Table:
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


def chart(total: Tally) -> Table:
    """Return the most frequent classes, each with a bar."""
    table = Table("most probable class", "photos", "", box=box.SIMPLE, pad_edge=False)
    table.columns[1].justify = "right"
    found = total.classes.most_common(MOST_CLASSES)
    for label, count in found:
        table.add_row(escape(printable(label)), f"{count:,}", Bar(found[0][1], 0, count, width=BAR_WIDTH))
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
