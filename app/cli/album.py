"""Goes through many photos with several calls at a time, and keeps their order."""

from collections.abc import Callable, Generator, Sequence
from functools import partial
from typing import TypeVar

from app.cli.backend import Backend
from app.cli.photos import PhotoFile
from app.client.many import group_size, grouped, in_order
from app.errors import Unreadable
from app.prediction.blocking import PhotoResult

R = TypeVar("R")


def classify_photos(photos: Sequence[PhotoFile], backend: Backend, k: int) -> Generator[tuple[PhotoFile, PhotoResult]]:
    """Yield each photo with its `k` most probable classes or its error, in order, as soon as all before it are done."""
    return each(photos, backend, lambda images: backend.classify(images, k))


def each(
    photos: Sequence[PhotoFile], backend: Backend, call: Callable[[Sequence[bytes]], list[R]]
) -> Generator[tuple[PhotoFile, R | Unreadable]]:
    """Yield each photo with what the call of a backend makes of it, in order, as soon as all before it are done.

    A call is given the contents of some photos and returns a result for each. A photo that cannot be read has the error
    as its result.
    """
    groups = grouped(photos, group_size(photos, backend.at_once, backend.size), lambda photo: photo.size)
    return in_order(partial(_called, call), groups, backend.at_once)


def _called(
    call: Callable[[Sequence[bytes]], list[R]], group: list[PhotoFile]
) -> list[tuple[PhotoFile, R | Unreadable]]:
    files = [_read(photo) for photo in group]
    whole = [file for file in files if isinstance(file, bytes)]
    results = iter(call(whole) if whole else ())
    return [
        (photo, next(results) if isinstance(file, bytes) else file) for photo, file in zip(group, files, strict=True)
    ]


def _read(photo: PhotoFile) -> bytes | Unreadable:
    try:
        return photo.read()
    except Unreadable as exc:
        return exc
