"""Goes through many photos with several calls at a time, and keeps their order."""

from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final, Protocol, TypeVar

from app.cli.backend import Backend, PhotoResult
from app.cli.photos import PhotoFile
from app.errors import Unreadable

R = TypeVar("R")

MOST_BYTES: Final = 8 * 2**20
"""The most bytes of several photos in one call: a request must not be too large, nor its photos fill the memory."""


class Calls(Protocol):
    """How photos are passed on: so many in one call, and so many calls at a time."""

    size: int
    at_once: int


def classify_photos(photos: Sequence[PhotoFile], backend: Backend, k: int) -> Generator[tuple[PhotoFile, PhotoResult]]:
    """Yield each photo with its `k` most probable classes or its error, in order, as soon as all before it are done."""
    return each(photos, backend, lambda images: backend.classify(images, k))


def each(
    photos: Sequence[PhotoFile], calls: Calls, call: Callable[[Sequence[bytes]], list[R]]
) -> Generator[tuple[PhotoFile, R | Unreadable]]:
    """Yield each photo with what the call makes of it, in order, as soon as all before it are done.

    A call is given the contents of some photos and returns a result for each. A photo that cannot be read has the error
    as its result.
    """
    size = max(1, min(calls.size, len(photos) // calls.at_once))  # few photos go in smaller groups, to all calls
    groups = list(_groups(photos, size))
    with ThreadPoolExecutor(calls.at_once) as pool:
        for group, results in zip(groups, pool.map(partial(_called, call), groups), strict=True):
            yield from zip(group, results, strict=True)


def _groups(photos: Sequence[PhotoFile], size: int) -> Iterator[list[PhotoFile]]:
    group: list[PhotoFile] = []
    room = MOST_BYTES
    for photo in photos:
        if group and (len(group) == size or photo.size > room):
            yield group
            group, room = [], MOST_BYTES
        group.append(photo)
        room -= photo.size
    if group:
        yield group


def _called(call: Callable[[Sequence[bytes]], list[R]], group: list[PhotoFile]) -> list[R | Unreadable]:
    files = [_read(photo) for photo in group]
    whole = [file for file in files if isinstance(file, bytes)]
    results = iter(call(whole) if whole else ())
    return [next(results) if isinstance(file, bytes) else file for file in files]


def _read(photo: PhotoFile) -> bytes | Unreadable:
    try:
        return photo.read()
    except Unreadable as exc:
        return exc
