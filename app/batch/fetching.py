"""Fetching photos in files of their own: another machine that is away, and photos that are gone for ever."""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import Final

from app.batch.storage import reading
from app.batch.storage.asking import attempts
from app.batch.storage.names import is_remote
from app.errors import ClientError, Unreachable, Unreadable

Photo = tuple[str, bytes | ClientError]
"""The name of a photo, and its content or why there is none."""

LARGEST_BYTES: Final = 256_000_000
"""The most bytes of a photo, more than photos have. What has more may not fit into the memory, again and again."""
IN_A_ROW: Final = 8
"""After so many photos in a row that could not be fetched, the others are not asked for before the next pause."""


def fetched(names: Sequence[str], others: Callable[[], Iterable[str]]) -> Iterator[Photo]:
    """Yield photos. Those that another machine does not give at first are asked for again, after pauses.

    A photo that is not given even then has `Unreachable` as its content if another machine answers about one of the
    `others`, files from all over the job, at the time, or if all of them are of this machine. Otherwise the network or
    the other machine seems to be away, and `Unreachable` is raised.
    """
    for _ in attempts():
        names = yield from _round(names)
        if not names:
            return
    for name in names:
        remote = [other for other in others() if is_remote(other) and other != name]
        answered = not remote or any(map(reading.answers, remote))
        try:
            yield _photo(name)
        except Unreachable as exc:
            if not answered:
                raise
            yield name, exc


def _round(names: Sequence[str]) -> Generator[Photo, None, list[str]]:
    """Yield the photos that are given, and return the names of the others."""
    missing: list[str] = []
    in_a_row = 0
    for number, name in enumerate(names):
        try:
            photo = _photo(name)
        except Unreachable:
            missing.append(name)
            in_a_row += 1
            if in_a_row == IN_A_ROW:
                return [*missing, *names[number + 1 :]]
        else:
            in_a_row = 0
            yield photo
    return missing


def _photo(name: str) -> Photo:
    try:
        return name, reading.read(name, LARGEST_BYTES)
    except Unreadable as exc:
        return name, exc
