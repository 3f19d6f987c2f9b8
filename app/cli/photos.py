"""Finds and reads the photos that a command line names: files, folders, patterns and standard input."""

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from app.errors import StartError, Unreadable
from app.imaging.folder import Here, files, matching
from app.imaging.formats import SUFFIXES, is_of_finder, is_photo
from app.imaging.pattern import Pattern, split

STDIN: Final = "-"
MOST_BYTES: Final = 2**30
"""A larger file is no photo: one of 50 megapixels, with 16 bits for each of four colours, has less than half of it."""


@dataclass(frozen=True, slots=True)
class PhotoFile:
    """A file that the command line names, or standard input."""

    name: str

    @property
    def size(self) -> int:
        """The size of the file in bytes; 0 if it cannot be known before the file is read."""
        try:
            return os.stat(self.name).st_size
        except OSError:
            return 0

    def read(self) -> bytes:
        """Return the content of the file. Raises `Unreadable`."""
        if self.size > MOST_BYTES:
            raise Unreadable(f"it has {self.size:,} bytes, and {MOST_BYTES:,} is the most")
        try:
            return sys.stdin.buffer.read() if self.name == STDIN else Path(self.name).read_bytes()
        except OSError as exc:
            raise Unreadable(exc.strerror or str(exc)) from exc
        except MemoryError as exc:
            raise Unreadable("there is not enough memory to read it") from exc


def find(arguments: Iterable[str]) -> list[PhotoFile]:
    """Return the photos that the arguments name, in their order.

    An argument is `-` (standard input), a file, a folder, which stands for all photos in it and its subfolders, linked
    ones included, or a pattern with `*`, `?` or `[`, which stands for all files and folders that it matches, each photo
    once. The files `._…` that macOS puts beside photos are left out. A missing file is not noticed before it is read.
    Raises `StartError` for a pattern or a folder without photos.
    """
    return [PhotoFile(name) for argument in arguments for name in _named(argument)]


def _named(argument: str) -> list[str]:
    if os.path.isdir(argument):
        return _all(argument, sorted(_below(argument)))
    if os.path.exists(argument) or (found := split(argument)) is None:
        return [argument]
    return _all(argument, sorted(_matched(*found)))


def _all(argument: str, names: list[str]) -> list[str]:
    if not names:
        raise StartError(f"there are no photos in {argument}; names of photos end with {', '.join(sorted(SUFFIXES))}")
    return names


def _below(folder: str) -> Iterator[str]:
    with _looking():
        yield from filter(is_photo, files(folder))


def _matched(folder: str, pattern: Pattern) -> Iterator[str]:
    with _looking():
        for path, itself in matching(Here(folder), pattern):
            if is_photo(path) or (itself and os.path.isfile(path) and not is_of_finder(path)):
                yield path


@contextmanager
def _looking() -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise StartError(f"cannot look for photos in {exc.filename}: {exc.strerror}") from exc
