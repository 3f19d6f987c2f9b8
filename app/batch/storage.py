"""Files of this machine and of object storage, by the names that a user gives them.

A name is a path, or a URL such as `s3://bucket/photos/1.jpg`. What a URL's file system needs to know, such as keys and
the address of the server, it takes from the environment, as its own tools do.
"""

import fnmatch
import math
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from glob import has_magic, iglob
from io import BufferedReader, RawIOBase
from pathlib import Path
from stat import S_ISREG
from typing import Any, Final
from uuid import uuid4

from pyarrow import fs

from app.errors import StartError, Unreachable, Unreadable, first_line

_URL: Final = re.compile(r"(?P<root>[a-z][a-z0-9+.-]*://[^/]+)(?:/(?P<path>.*))?", re.DOTALL)
_LOCAL: Final = "file://"
_ARROW: Final = ("s3://", "gs://", "gcs://", "abfs://", "abfss://", "hdfs://", "viewfs://")
_HALF: Final = ".part"
FETCHED_BYTES: Final = 16 * 2**20
"""How much of a file is asked of another machine at first. Few photos have more."""
PART_BYTES: Final = 2 * 2**20
"""How much is asked of it at a time where a file is read in parts, which are mostly smaller."""


def is_remote(name: str) -> bool:
    """Whether a name is a URL of another machine."""
    return _URL.fullmatch(name) is not None and not name.startswith(_LOCAL)


def absolute(name: str) -> str:
    """Return the name without a slash at its end, and a path as what it is from any folder."""
    return name.rstrip("/") if is_remote(name) else os.path.abspath(name.removeprefix(_LOCAL))


@lru_cache
def _root(url: str) -> tuple[Any, str]:
    """Return the file system of a URL without its path, and where in it that URL is. Raises `StartError`.

    What Arrow does not know itself, fsspec may, which finds the packages of others.
    """
    own = url.startswith(_ARROW)
    try:
        found: tuple[Any, str] = fs.FileSystem.from_uri(url if own else f"fsspec+{url}")
    except Exception as exc:  # an unknown scheme; a package that is missing; whatever the packages of others raise
        raise StartError(f"{url}: {exc}") from exc
    return found


def locate(name: str) -> tuple[Any, str]:
    """Return the pyarrow file system of a name, and the path in it. Raises `StartError` for an unknown scheme."""
    found = _URL.fullmatch(name)
    if found is None or name.startswith(_LOCAL):
        return fs.LocalFileSystem(), name.removeprefix(_LOCAL)
    system, base = _root(found["root"])
    return system, f"{base.rstrip('/')}/{found['path'] or ''}".rstrip("/")


def read(name: str, most_bytes: float = math.inf) -> bytes:
    """Return the content of a file. Raises `Unreadable`, also for one with more bytes."""
    try:
        return (_fetch if is_remote(name) else _read)(name, most_bytes)
    except Unreadable:
        raise
    except Exception as exc:  # packages of others have errors of their own; a name with a zero byte is a `ValueError`
        raise Unreadable(_said(exc)) from exc


def _read(name: str, most_bytes: float) -> bytes:
    path = Path(name.removeprefix(_LOCAL))
    found = path.stat()
    if not S_ISREG(found.st_mode):  # a pipe would be waited for without end
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


def _said(error: Exception) -> str:
    return getattr(error, "strerror", None) or first_line(error)


def check_size(size_bytes: int, most_bytes: float) -> None:
    """Raise `Unreadable` for too many bytes."""
    if size_bytes > most_bytes:
        raise Unreadable(f"this has {size_bytes:,} bytes; the limit is {most_bytes:,}")


@contextmanager
def opened(name: str) -> "Iterator[BufferedReader[Any]]":
    """Open a file to read parts of it.

    Raises `FileNotFoundError`, or another `OSError` for a file of this machine. For one of another machine, opening and
    reading raise `Unreachable` instead: nothing need be wrong with the file, and later that machine may answer.
    """
    if not is_remote(name):
        with open(name.removeprefix(_LOCAL), "rb") as file:
            yield file
        return
    system, path = locate(name)
    with _asked(name):
        far = system.open_input_file(path)
    with far, BufferedReader(_Far(far, name), PART_BYTES) as file:
        yield file


@contextmanager
def _asked(name: str) -> Iterator[None]:
    """Have what goes wrong meanwhile raise `Unreachable`, unless the file is not there."""
    try:
        yield
    except FileNotFoundError:
        raise
    except Exception as exc:
        raise Unreachable(f"{name}: {first_line(exc)}") from exc


class _Far(RawIOBase):
    """A file of another machine, whose failures are told from damage in what it has."""

    def __init__(self, file: Any, name: str) -> None:
        self._file, self._name = file, name

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return int(self._file.tell())

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        with _asked(self._name):
            return int(self._file.seek(offset, whence))

    def readinto(self, buffer: Any) -> int:
        with _asked(self._name):
            return int(self._file.readinto(buffer))


def exists(name: str) -> bool:
    """Whether there is a file of this name."""
    if not is_remote(name):
        return os.path.isfile(name)
    system, path = locate(name)
    return bool(system.get_file_info(path).type == fs.FileType.File)


def write(name: str, content: bytes) -> None:
    """Write a file so that it is never there in part, whenever this process or its machine ends. Raises `OSError`."""
    if is_remote(name):
        system, path = locate(name)
        with system.open_output_stream(path) as stream:  # object storage shows what was sent when all of it was
            stream.write(content)
        return
    half = Path(name).with_name(f".{uuid4().hex}{_HALF}")
    try:
        with half.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        half.replace(name)
    except BaseException:
        with suppress(OSError):
            half.unlink()
        raise


def remove_halves(folder: str) -> None:
    """Remove what processes that were killed have left in a folder. Raises `OSError`."""
    if not is_remote(folder):
        for half in Path(folder).glob(f".*{_HALF}"):
            half.unlink(missing_ok=True)


def make_folder(name: str) -> None:
    """Make a folder, and those it is in; object storage needs none. Raises `OSError`."""
    if not is_remote(name):
        Path(name).mkdir(parents=True, exist_ok=True)


def is_empty(name: str) -> bool:
    """Whether a folder has nothing in it, or is not there. Raises `OSError` if it is a file or cannot be read."""
    if is_remote(name):
        system, path = locate(name)
        return not system.get_file_info(fs.FileSelector(path, allow_not_found=True))
    with suppress(FileNotFoundError), os.scandir(name) as entries:
        return next(entries, None) is None
    return True


def find(argument: str) -> Iterator[str]:
    """Yield the files that an argument names: a file, all below a folder, or those that match a pattern.

    The names are yielded as they are found, so that a million of them take no memory; in object storage those of one
    folder are held at a time. Raises `StartError` for a folder that cannot be read. A missing file is named, too.
    """
    try:
        yield from _remote(argument) if is_remote(argument) else _local(argument.removeprefix(_LOCAL))
    except StartError:
        raise
    except Exception as exc:  # packages of others have errors of their own
        raise StartError(f"cannot look for photos in {argument}: {_said(exc)}") from exc


def _local(argument: str) -> Iterator[str]:
    if os.path.isdir(argument):
        yield from _below(argument)
    elif os.path.exists(argument) or not has_magic(argument):
        yield argument
    else:
        yield from (name for name in iglob(argument, recursive=True) if os.path.isfile(name))


def _below(folder: str) -> Iterator[str]:
    folders = [folder]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                if not entry.is_dir():
                    yield entry.path
                elif not entry.is_symlink():  # it may lead in a circle
                    folders.append(entry.path)


def _remote(argument: str) -> Iterator[str]:
    system, path = locate(argument)
    kind = system.get_file_info(path).type
    if kind == fs.FileType.Directory:
        yield from _below_remote(system, path, argument.rstrip("/"))
    elif kind == fs.FileType.File or not has_magic(argument):
        yield argument
    else:
        parts = argument.split("/")
        plain = "/".join(parts[: next(at for at, part in enumerate(parts) if has_magic(part))])
        names = _below_remote(system, locate(plain)[1], plain)
        yield from (name for name in names if fnmatch.fnmatchcase(name, argument))


def _below_remote(system: Any, path: str, name: str) -> Iterator[str]:
    """Yield the files below a folder whose path is `path`, and which the user calls `name`."""
    folders = [path]
    while folders:
        for info in system.get_file_info(fs.FileSelector(folders.pop())):
            if info.type == fs.FileType.Directory:
                folders.append(info.path)
            else:
                yield name + info.path[len(path) :]
