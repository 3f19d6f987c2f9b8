"""The results of photos, printed as they come: text for people, JSON, or CSV."""

import csv
import io
import json
import sys
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from rich.console import Console
from rich.progress import Progress

from app.cli.classify import PhotoResult
from app.cli.photos import Photo


class Form(NamedTuple):
    """How results are printed."""

    lines: Callable[[str, PhotoResult], str]
    """Makes of the name of a photo and its result what is printed."""
    header: str = ""
    errors_aside: bool = False
    """Whether errors go to standard error and not among the results."""


def write(results: Iterable[tuple[Photo, PhotoResult]], form: Form, count: int) -> int:
    """Print results as they come, their progress beside them where somebody looks; return how many are errors."""
    console = Console(stderr=True)
    watched = console.is_terminal
    sys.stdout.reconfigure(errors="surrogateescape")  # type: ignore[union-attr]  # names of files need not be UTF-8
    sys.stderr.reconfigure(errors="surrogateescape")  # type: ignore[union-attr]
    print(form.header, end="")
    failed = 0
    # Rich prints on the terminal of its bar whatever is redirected to it, so that must not be a file's content.
    with Progress(
        console=console, disable=not watched, transient=True, redirect_stdout=sys.stdout.isatty()
    ) as progress:
        for photo, result in progress.track(results, total=count, description=""):
            failed += isinstance(result, Exception)
            file = sys.stderr if form.errors_aside and isinstance(result, Exception) else sys.stdout
            print(form.lines(photo.name, result), file=file, flush=True)
    return failed


def _text(name: str, result: PhotoResult) -> str:
    if isinstance(result, Exception):
        return f"{name}: {result.detail}"
    return f"{name}: " + ", ".join(f"{one.label} {one.probability:.1%}" for one in result)


def _json(name: str, result: PhotoResult) -> str:
    if isinstance(result, Exception):
        return json.dumps({"path": name, "error": {"code": result.code, "detail": result.detail}})
    return json.dumps({"path": name, "predictions": [one.model_dump() for one in result]})


def _csv(name: str, result: PhotoResult) -> str:
    if isinstance(result, Exception):
        return _row(name, *[None] * 5, result.code, result.detail)
    return "\n".join(_row(name, rank, *one.model_dump().values(), None, None) for rank, one in enumerate(result, 1))


def _row(*cells: object) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="").writerow(cells)
    return buffer.getvalue()


TEXT: Final = Form(_text, errors_aside=True)
JSON: Final = Form(_json)
CSV: Final = Form(_csv, header="path,rank,class_id,wordnet_id,label,probability,error,detail\n")
"""A row for each class of a photo, best first, or one with its error."""
