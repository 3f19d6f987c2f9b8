"""Prints the result of each photo as soon as it is known: as text for people, as JSON, or as CSV."""

import csv
import io
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple, TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from app.cli.photos import PhotoFile
from app.cli.streams import printable
from app.prediction.blocking import PhotoResult

T = TypeVar("T")


class Form(NamedTuple):
    """A form in which results are printed."""

    lines: Callable[[str, PhotoResult], str]
    """Formats the name of a photo and its result as one or more lines."""
    header: str = ""
    errors_aside: bool = False
    """Whether errors are printed on standard error, instead of among the results."""


def write(results: Iterable[tuple[PhotoFile, PhotoResult]], form: Form, count: int) -> int:
    """Print `count` results as they come, with a progress bar. Return how many of them are errors."""
    print(form.header, end="")
    failed = 0
    for photo, result in tracked(results, count):
        failed += isinstance(result, Exception)
        file = sys.stderr if form.errors_aside and isinstance(result, Exception) else sys.stdout
        print(form.lines(photo.name, result), file=file, flush=True)
    return failed


def tracked(results: Iterable[T], count: int) -> Iterator[T]:
    """Yield `count` results as they come; a progress bar is shown if standard error is a terminal."""
    console = Console(stderr=True)
    # Rich redirects standard output to the terminal of its bar; a file or a pipe must get the results itself.
    with Progress(
        *(TextColumn("{task.completed:,} of {task.total:,}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn()),
        console=console,
        disable=not console.is_terminal,
        transient=True,
        redirect_stdout=sys.stdout.isatty(),
    ) as progress:
        yield from progress.track(results, total=count, description="")


def _text(name: str, result: PhotoResult) -> str:
    if isinstance(result, Exception):
        return printable(f"{name}: {result.detail}")
    mark = "(unfamiliar) " if result.unfamiliar else ""
    classes = ", ".join(f"{one.label} {one.probability:.1%}" for one in result.predictions)
    return printable(f"{name}: {mark}{classes}")


def _json(name: str, result: PhotoResult) -> str:
    if isinstance(result, Exception):
        return json.dumps({"path": name, "error": {"code": result.code, "detail": result.detail}})
    return json.dumps({"path": name, **result.model_dump()})


def _csv(name: str, result: PhotoResult) -> str:
    if isinstance(result, Exception):
        return _row(name, *[None] * 6, result.code, result.detail)
    ranked = enumerate(result.predictions, 1)
    return "\n".join(
        _row(name, rank, *one.model_dump().values(), result.familiarity, None, None) for rank, one in ranked
    )


def _row(*cells: object) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="").writerow(cells)
    return buffer.getvalue()


TEXT: Final = Form(_text, errors_aside=True)
JSON: Final = Form(_json)
CSV: Final = Form(_csv, header="path,rank,class_id,wordnet_id,label,probability,familiarity,error,detail\n")
"""One row for each class of a photo, most probable first, or one row with its error."""
