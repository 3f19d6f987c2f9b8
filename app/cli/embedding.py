"""The commands that compare photos by their embeddings: `embed`, `similar` and `duplicates`."""

import os
import stat
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from app.cli import choice
from app.cli.streams import say
from app.errors import StartError

if TYPE_CHECKING:
    from app.cli.vectors import Vectors

Photos = Annotated[list[str], typer.Argument(help="Files, folders, or quoted patterns such as '*.jpg'.")]
Url = Annotated[str | None, typer.Option(help="Address of a service to ask. Default: run the model here.")]
Key = Annotated[
    str | None, typer.Option(help="Key of the service. Default: the first of MOBILENET_API_KEYS, which is safer.")
]


class Asked(NamedTuple):
    """What embeddings are asked of: a service, or a model that runs here; and which variant."""

    url: str | None
    api_key: str | None
    alpha: str | None
    resolution: str | None
    precision: str | None


def embed(
    photos: Photos,
    *,
    output: Annotated[Path, typer.Option(help="File to write: vectors.npy, .parquet or .csv.")],
    url: Url = None,
    api_key: Key = None,
    alpha: choice.Alpha = None,
    resolution: choice.Resolution = None,
    precision: choice.Precision = None,
) -> None:
    """Write the embedding of each photo: numbers that are alike for photos that look alike.

    The exit code is 1 if some photos failed; the others are written.
    """
    from app.cli.vectors import writer

    write = writer(output)
    vectors, failed = _vectors(photos, Asked(url, api_key, alpha, resolution, precision))
    write(output, vectors)
    source = vectors.source
    say(
        f"{output}: {len(vectors.names):,} × {vectors.values.shape[1]:,} numbers by {source.weights}, "
        f"{source.variant}, {source.precision}"
    )
    end(failed, failed + len(vectors.names))


def similar(
    photo: Annotated[str, typer.Argument(help="The photo to compare with.")],
    photos: Photos,
    *,
    count: Annotated[int, typer.Option(min=1, help="How many to print.")] = 10,
    url: Url = None,
    api_key: Key = None,
    alpha: choice.Alpha = None,
    resolution: choice.Resolution = None,
    precision: choice.Precision = None,
) -> None:
    """Print the photos that look most like one photo, each with its cosine, nearest first."""
    from app.cli.vectors import MOST, nearest, unit

    _check_photo(photo)
    vectors, failed = _vectors([photo, *photos], Asked(url, api_key, alpha, resolution, precision), most=MOST)
    if vectors.names[:1] != [photo]:
        raise StartError(f"{photo} cannot be compared with others")
    values = unit(vectors.values)
    itself = _file(photo)
    others = [at for at, name in enumerate(vectors.names) if at and _file(name) != itself]
    for at, cosine in nearest(values[0], values[others], count):
        say(f"{cosine:.4f} {vectors.names[others[at]]}")
    end(failed, failed + len(vectors.names))


def duplicates(
    photos: Photos,
    *,
    threshold: Annotated[
        float | None,
        typer.Option(
            min=-1, max=1, help="Cosine from which two photos are printed. Default: 0.97, or 0.9 for 1,000 classes."
        ),
    ] = None,
    url: Url = None,
    api_key: Key = None,
    alpha: choice.Alpha = None,
    resolution: choice.Resolution = None,
    precision: choice.Precision = None,
) -> None:
    """Print pairs of photos that are nearly the same, each with its cosine, nearest first."""
    from app.cli.vectors import MOST, alike, pairs, unit

    vectors, failed = _vectors(photos, Asked(url, api_key, alpha, resolution, precision), most=MOST)
    least = alike(vectors.source) if threshold is None else threshold
    first = _first_of_each(vectors.names)
    for one, other, cosine in pairs(unit(vectors.values), least):
        if {one, other} <= first:
            say(f"{cosine:.4f} {vectors.names[one]} {vectors.names[other]}")
    end(failed, failed + len(vectors.names))


def _vectors(photos: list[str], asked: Asked, most: int | None = None) -> "tuple[Vectors, int]":
    """Return the embeddings of photos, and how many of these failed. Raises `StartError` for more than `most`."""
    from app.cli.backend import RemoteBackend
    from app.cli.photos import find
    from app.cli.vectors import collect
    from app.prediction.blocking import LocalBackend

    choice.check_place(asked.url, api_key=asked.api_key, precision=asked.precision)
    settings = choice.settings_with(asked.alpha, asked.resolution, asked.precision)
    found = find(photos)
    if most is not None and len(found) > most:
        raise StartError(
            f"{len(found):,} photos are too many to compare here, and {most:,} the most; see docs/similar.md"
        )
    key = asked.api_key or next((one.get_secret_value() for one in settings.api_keys), None)
    wanted = choice.options(settings, asked.alpha, asked.resolution)
    with closing(
        LocalBackend(settings) if asked.url is None else RemoteBackend(asked.url, key, None, wanted)
    ) as backend:
        vectors, failed = collect(found, backend)
    if not vectors.names:
        raise StartError("there is no embedding: every photo failed")
    return vectors, failed


def _check_photo(name: str) -> None:
    """Raise `StartError` unless this is one photo, before all those that it is compared with are embedded."""
    from app.cli.photos import STDIN

    if name == STDIN:
        return
    try:
        folder = stat.S_ISDIR(os.stat(name).st_mode)
    except OSError as exc:
        raise StartError(f"cannot read {name}: {exc.strerror}") from exc
    if folder:
        raise StartError(f"{name} is a folder; name one photo to compare with")


def _first_of_each(names: list[str]) -> set[int]:
    """Return the index of the first name of each file.

    If a file were in pairs under each of its names, whoever deletes the second of each pair could lose the only copy.
    """
    first: dict[object, int] = {}
    for at, name in enumerate(names):
        first.setdefault(_file(name), at)
    return set(first.values())


def _file(name: str) -> object:
    """Return what is equal for all names of one file, links included."""
    try:
        found = os.stat(name)
    except OSError:
        return name
    return found.st_dev, found.st_ino


def end(failed: int, count: int) -> None:
    """End with the exit code 1 if photos failed."""
    if failed:
        print(f"mobilenet: {failed:,} of {count:,} photos failed", file=sys.stderr)
        raise typer.Exit(1)
