"""Files of this machine and of object storage, by the names that a user gives them.

A name is a path, or a URL such as `s3://bucket/photos/1.jpg`. What a URL's file system needs to know, such as keys and
the address of the server, it takes from the environment, as its own tools do.
"""

import fnmatch
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from glob import has_magic, iglob
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from pyarrow import fs

from app.errors import StartError, Unreadable

_URL: Final = re.compile(r"(?P<root>[a-z][a-z0-9+.-]*://[^/]+)(?:/(?P<path>.*))?", re.DOTALL)
_LOCAL: Final = "file://"
_ARROW: Final = ("s3://", "gs://", "gcs://", "abfs://", "abfss://", "hdfs://", "viewfs://")
_HALF: Final = ".part"


def is_remote(name: str) -> bool:
    """Whether a name is a URL of another machine."""
    return _URL.fullmatch(name) is not None and not name.startswith(_LOCAL)


@lru_cache
def _root(url: str) -> tuple[Any, str]:
    """Return the file system of a URL without its path, and where in it that URL is. Raises `StartError`.

    What Arrow does not know itself, fsspec may, which finds the packages of others.
    """
    own = url.startswith(_ARROW)
    try:
        found: tuple[Any, str] = fs.FileSystem.from_uri(url if own else f"fsspec+{url}")
    except (ValueError, ImportError, OSError) as exc:  # an unknown scheme; a package that is missing; no such host
        raise StartError(f"{url}: {exc}") from exc
    return found


def locate(name: str) -> tuple[Any, str]:
    """Return the pyarrow file system of a name, and the path in it. Raises `StartError` for an unknown scheme."""
    found = _URL.fullmatch(name)
    if found is None or name.startswith(_LOCAL):
        return fs.LocalFileSystem(), name.removeprefix(_LOCAL)
    system, base = _root(found["root"])
    return system, f"{base.rstrip('/')}/{found['path'] or ''}".rstrip("/")


def read(name: str) -> bytes:
    """Return the content of a file. Raises `Unreadable`."""
    try:
        if not is_remote(name):
            return Path(name.removeprefix(_LOCAL)).read_bytes()  # a fifth of the time that pyarrow takes
        system, path = locate(name)
        with system.open_input_stream(path) as stream:
            content: bytes = stream.read()
    except (OSError, ValueError) as exc:  # a name with a zero byte is a `ValueError`
        raise Unreadable(getattr(exc, "strerror", None) or str(exc)) from exc
    return content


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
    except OSError as exc:
        raise StartError(f"cannot look for photos in {argument}: {exc.strerror or exc}") from exc


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
