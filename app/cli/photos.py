"""The photos that a command line names: files, folders, patterns and standard input."""

import glob
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from PIL import Image

from app.errors import StartError, Unreadable
from app.imaging.decode import FORMATS

STDIN: Final = "-"
SUFFIXES: Final = frozenset(suffix for suffix, form in Image.EXTENSION.items() if form in FORMATS)
"""What the names of photos in a folder end with, in lower case."""


@dataclass(frozen=True, slots=True)
class Photo:
    """A file that was named, or standard input."""

    name: str

    @property
    def size(self) -> int:
        """Bytes of the file; 0 where nobody knows before it is read."""
        try:
            return os.stat(self.name).st_size
        except OSError:
            return 0

    def read(self) -> bytes:
        """Return the bytes. Raises `Unreadable`."""
        try:
            return sys.stdin.buffer.read() if self.name == STDIN else Path(self.name).read_bytes()
        except OSError as exc:
            raise Unreadable(exc.strerror or str(exc)) from exc


def find(arguments: Iterable[str]) -> list[Photo]:
    """Return what is named, in order: `-`, files, folders with all that is below them, and patterns with `*`, `?`, `[`.

    A file that is not there is found out when it is read. Raises `StartError` for a pattern or a folder without photos.
    """
    return [Photo(name) for argument in arguments for name in _named(argument)]


def _named(argument: str) -> list[str]:
    if os.path.isdir(argument):
        return _all(argument, sorted(_below(argument)))
    if os.path.exists(argument) or not glob.has_magic(argument):
        return [argument]
    names = sorted(glob.glob(argument, recursive=True))
    return _all(argument, [name for name in names if os.path.isfile(name)])


def _all(argument: str, names: list[str]) -> list[str]:
    if not names:
        raise StartError(f"there are no photos in {argument}; their names end with {', '.join(sorted(SUFFIXES))}")
    return names


def _below(folder: str) -> Iterator[str]:
    for parent, _, names in os.walk(folder, onerror=_refuse):
        yield from (os.path.join(parent, name) for name in names if os.path.splitext(name)[1].lower() in SUFFIXES)


def _refuse(error: OSError) -> None:
    raise StartError(f"cannot look for photos in {error.filename}: {error.strerror}") from error
