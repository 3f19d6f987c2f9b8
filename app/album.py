"""Many photos through a backend: some at once, answered in their order."""

from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final

from app.backend import Backend, Result
from app.errors import Unreadable
from app.photos import Photo

MOST_BYTES: Final = 8 * 2**20
"""Of several photos together: less than a service takes in one request, and no more of each call is in memory."""


def classify(photos: Sequence[Photo], backend: Backend, k: int) -> Generator[tuple[Photo, Result]]:
    """Yield each photo with its `k` most probable classes or its error, in order, as soon as all before it are done."""
    size = max(1, min(backend.size, len(photos) // backend.at_once))  # a few photos are shared out as well
    groups = list(_groups(photos, size))
    with ThreadPoolExecutor(backend.at_once) as pool:
        for group, results in zip(groups, pool.map(partial(_classify, backend, k), groups), strict=True):
            yield from zip(group, results, strict=True)


def _groups(photos: Sequence[Photo], size: int) -> Iterator[list[Photo]]:
    group: list[Photo] = []
    room = MOST_BYTES
    for photo in photos:
        if group and (len(group) == size or photo.size > room):
            yield group
            group, room = [], MOST_BYTES
        group.append(photo)
        room -= photo.size
    if group:
        yield group


def _classify(backend: Backend, k: int, group: list[Photo]) -> list[Result]:
    files = [_read(photo) for photo in group]
    whole = [file for file in files if isinstance(file, bytes)]
    results = iter(backend.classify(whole, k) if whole else ())
    return [next(results) if isinstance(file, bytes) else file for file in files]


def _read(photo: Photo) -> bytes | Unreadable:
    try:
        return photo.read()
    except Unreadable as exc:
        return exc
