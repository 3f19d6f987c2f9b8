"""Reading files, at once or in parts. Failures of another machine are told apart from damage of the file."""

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from io import BufferedReader, RawIOBase
from pathlib import Path
from stat import S_ISREG
from typing import Any, Final

from pyarrow import fs

from app.batch.storage.asking import asked, is_permanent, once, said
from app.batch.storage.names import is_remote, locate, path_of
from app.errors import Unreadable

FETCHED_BYTES: Final = 16 * 2**20
"""How much of a file is asked of another machine at first. Few photos have more."""
PART_BYTES: Final = 2 * 2**20
"""How much is asked of it at a time where a file is read in small parts."""


def read(name: str, most_bytes: float = math.inf) -> bytes:
    """Return the content of a file.

    Raises `Unreadable`, also for one with more bytes, and `Unreachable` if another machine does not give it now.
    """
    if is_remote(name):
        return once(name, partial(_fetch, name, most_bytes))
    try:
        return _read(name, most_bytes)
    except (OSError, ValueError) as exc:  # a `ValueError` for a name with a zero byte
        raise Unreadable(said(exc)) from exc


def _read(name: str, most_bytes: float) -> bytes:
    path = Path(path_of(name))
    found = path.stat()
    if not S_ISREG(found.st_mode):  # reading a pipe would never end
        raise Unreadable("this is not a file")
    check_size(found.st_size, most_bytes)
    return path.read_bytes()  # a fifth of the time that pyarrow takes


def _fetch(name: str, most_bytes: float) -> bytes:
    system, path = locate(name)
    with system.open_input_stream(path) as stream:
        content = bytearray(stream.read(FETCHED_BYTES))
        if len(content) == FETCHED_BYTES:
            check_size(system.get_file_info(path).size or 0, most_bytes)  # not every server says it
        while more := stream.read(FETCHED_BYTES):
            content += more
            check_size(len(content), most_bytes)
    return bytes(content)


def check_size(size_bytes: int, most_bytes: float) -> None:
    """Raise `Unreadable` for too many bytes."""
    if size_bytes > most_bytes:
        raise Unreadable(f"this has {size_bytes:,} bytes; the limit is {most_bytes:,}")


def read_range(name: str, start: int, end: int) -> bytes:
    """Return the bytes of a file from one place to another. Raises `Unreadable`, or `Unreachable` after some time."""

    def ask() -> bytes:
        system, path = locate(name)
        with system.open_input_file(path) as file:
            return bytes(file.read_at(end - start, start))

    return asked(name, ask)


def answers(name: str) -> bool:
    """Whether another machine answers at the first attempt: it gives a file, or says that it never will."""
    try:
        system, path = locate(name)
    except Exception:  # packages of others have errors of their own; for an unknown scheme, nobody was asked
        return False
    try:
        with system.open_input_stream(path) as stream:
            stream.read(1)
    except Exception as exc:
        return is_permanent(exc)
    return True


def exists(name: str) -> bool:
    """Whether there is a file of this name. Raises `Unreadable`, or `Unreachable` after some time."""
    if not is_remote(name):
        return os.path.isfile(name)

    def ask() -> bool:
        system, path = locate(name)
        return bool(system.get_file_info(path).type == fs.FileType.File)

    return asked(name, ask)


@contextmanager
def opened(name: str) -> "Iterator[BufferedReader[Any]]":
    """Open a file to read parts of it.

    Raises `OSError` for a file of this machine. For one of another machine, opening and reading raise `Unreadable`, or
    `Unreachable` after some time.
    """
    if not is_remote(name):
        with open(path_of(name), "rb") as file:
            yield file
        return

    def ask() -> Any:
        system, path = locate(name)
        return system.open_input_file(path)

    with asked(name, ask) as far, BufferedReader(_Far(far, name), PART_BYTES) as buffered:
        yield buffered


class _Far(RawIOBase):
    """A remote file. Network failures raise `Unreachable`, so that they are not mistaken for a damaged file."""

    def __init__(self, file: Any, name: str) -> None:
        self._file, self._name = file, name

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return int(self._file.tell())

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return int(asked(self._name, partial(self._file.seek, offset, whence)))

    def readinto(self, buffer: Any) -> int:
        return int(asked(self._name, partial(self._file.readinto, buffer)))
