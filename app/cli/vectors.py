"""Embeddings of many photos: collected with progress, written to a file, and compared with one another."""

import csv
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.cli.album import each
from app.cli.backend import Backend
from app.cli.photos import PhotoFile
from app.cli.report import tracked
from app.cli.streams import say
from app.engines.files import replacing_all
from app.errors import StartError, install
from app.prediction.blocking import Source

MOST: Final = 100_000
"""The most photos that are compared here; docs/similar.md says what to use for more."""
ROWS: Final = 512
"""How many embeddings are compared with all others at a time, which bounds the memory."""
FEW_ALIKE, MANY_ALIKE = 0.97, 0.9
"""The cosine from which two photos are called nearly the same, by networks of few classes and of many.

What has learnt a thousand classes tells photos of one class apart, too; docs/similar.md has the figures.
"""
ROUNDING: Final = 1e-6
"""The most that a cosine is off because float32 is rounded: that of a photo with itself was up to 6e-7 below 1."""
MANY: Final = 1000
ABOUT: Final = {"weights_sha256", "paths"}
"""By these keys the file beside an array is told from other JSON."""

Matrix = NDArray[np.float32]


class Vectors(NamedTuple):
    """Embeddings `[n, channels]`, float32, the names of their n photos, and what they come from."""

    names: list[str]
    values: Matrix
    source: Source


def collect(photos: list[PhotoFile], backend: Backend) -> tuple[Vectors, int]:
    """Return the embeddings of photos, and how many of these failed; their errors are printed to standard error."""
    source = backend.source()
    names: list[str] = []
    rows: list[NDArray[np.float32]] = []
    for photo, result in tracked(each(photos, backend, backend.embed), len(photos)):
        if isinstance(result, Exception):
            say(f"{photo.name}: {result.detail}", sys.stderr)
        else:
            names.append(photo.name)
            rows.append(result)
    values = np.stack(rows) if rows else np.empty((0, 0), np.float32)
    return Vectors(names, values, source), len(photos) - len(names)


def unit(values: Matrix) -> Matrix:
    """Return vectors scaled to length 1, so that a dot product is the cosine; one of length 0 stays as it is."""
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    return np.asarray(values / np.where(lengths > 0, lengths, 1), np.float32)


def nearest(query: NDArray[np.float32], values: Matrix, count: int) -> list[tuple[int, float]]:
    """Return the rows of unit vectors that are nearest to one of them, nearest first, each with its cosine."""
    cosines = values @ query
    best = np.argsort(-cosines, kind="stable")[:count]
    return [(int(at), float(cosines[at])) for at in best]


def pairs(values: Matrix, threshold: float) -> list[tuple[int, int, float]]:
    """Return all pairs of unit vectors whose cosine is at least the threshold, nearest first, each pair once.

    A cosine that is smaller by `ROUNDING` counts, so that the threshold 1 finds what is equal.
    """
    found: list[tuple[int, int, float]] = []
    for start in range(0, len(values), ROWS):
        cosines = values[start : start + ROWS] @ values[start:].T
        rows, columns = np.nonzero(np.triu(cosines >= threshold - ROUNDING, k=1))
        found += zip((rows + start).tolist(), (columns + start).tolist(), cosines[rows, columns].tolist(), strict=True)
    return sorted(found, key=lambda pair: -pair[2])


def alike(source: Source) -> float:
    """Return the cosine from which two photos are called nearly the same."""
    return MANY_ALIKE if source.classes >= MANY else FEW_ALIKE


def writer(path: Path) -> Callable[[Path, Vectors], None]:
    """Return what writes vectors to a file of this name.

    Raises `StartError` if the end of the name is unknown, if the file cannot be written, or if it is an array and the
    file beside it is somebody else's. What it returns raises one if the file cannot be written.
    """
    if path.suffix not in WRITERS:
        raise StartError(f"--output {path}: the name must end with {', '.join(WRITERS)}")
    with _telling(path):
        there = path.absolute().parent.is_dir()
    if not there:
        raise StartError(f"--output {path}: there is no folder {path.parent}")
    if path.suffix == ".parquet":
        _pyarrow()
    for file in _files(path):
        _check_writable(file)
    if path.suffix == ".npy":
        with _telling(path):
            _check_ours(_beside(path))
    return _write


def _check_writable(path: Path) -> None:
    """Find out whether a file can be written as `_write` does, but leave it as it is."""
    with _telling(path):
        if _is_replaced(path):
            tempfile.TemporaryFile(dir=path.resolve().parent).close()
        else:
            path.open("ab").close()


def _check_ours(beside: Path) -> None:
    """Raise `StartError` if the file beside an array is there already and was not written beside one."""
    if not beside.is_file():
        return
    try:
        about = json.loads(beside.read_bytes())
    except ValueError:
        about = None
    if not (isinstance(about, dict) and about.keys() >= ABOUT):
        raise StartError(
            f"--output {beside.with_suffix('.npy')}: the names of the photos belong into {beside}, which holds "
            "something else; choose another name, or move that file away"
        )


def _write(path: Path, vectors: Vectors) -> None:
    """Write all files of the vectors, and then have them take the place of older ones."""
    files = [file.resolve() for file in _files(path)]
    with _telling(path):
        if all(map(_is_replaced, files)):
            with replacing_all(files) as temporary:
                WRITERS[path.suffix](vectors, *temporary)
        else:
            WRITERS[path.suffix](vectors, *files)


def _is_replaced(path: Path) -> bool:
    """Whether a new file can take the place of what is there; into a device or a pipe, it has to be written."""
    return path.is_file() or not path.exists()


@contextmanager
def _telling(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise StartError(f"--output {path}: cannot be written: {exc.strerror or exc}") from exc


def _files(path: Path) -> tuple[Path, ...]:
    return (path, _beside(path)) if path.suffix == ".npy" else (path,)


def _beside(path: Path) -> Path:
    """Return the file that says what the numbers of an array are, which has no place for it."""
    return path.with_suffix(".json")


def _npy(vectors: Vectors, path: Path, beside: Path) -> None:
    with path.open("wb") as file:
        np.save(file, vectors.values)
    about = {**vectors.source._asdict(), "paths": vectors.names}
    beside.write_text(json.dumps(about, indent=1) + "\n", errors="surrogateescape")


def _csv(vectors: Vectors, path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        rows = csv.writer(file)
        about = vectors.source._asdict()
        rows.writerow(["path", *about, *range(vectors.values.shape[1])])
        for name, row in zip(vectors.names, vectors.values, strict=True):
            rows.writerow([name, *about.values(), *(f"{value:.9g}" for value in row)])


def _parquet(vectors: Vectors, path: Path) -> None:
    arrow, parquet = _pyarrow()
    flat = arrow.array(vectors.values.ravel(), arrow.float32())
    names = [name.encode(errors="surrogateescape").decode(errors="replace") for name in vectors.names]
    columns = [arrow.array(names, arrow.string()), arrow.FixedSizeListArray.from_arrays(flat, vectors.values.shape[1])]
    table = arrow.Table.from_arrays(columns, names=["path", "embedding"])
    about = {name: str(value) for name, value in vectors.source._asdict().items()}
    with path.open("wb") as file:  # by its path, pyarrow would delete it after an error, even a device
        parquet.write_table(table.replace_schema_metadata(about), file)


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as exc:
        raise StartError(f"Parquet files need pyarrow; {install('parquet')}") from exc
    return pyarrow, parquet


WRITERS: Final[dict[str, Callable[..., None]]] = {".npy": _npy, ".parquet": _parquet, ".csv": _csv}
