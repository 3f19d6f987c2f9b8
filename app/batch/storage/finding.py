"""Finding files: all below a folder, those that match a pattern, and what is directly in a folder."""

import fnmatch
import os
from collections.abc import Iterator
from contextlib import suppress
from glob import has_magic, iglob
from typing import Any

from pyarrow import fs

from app.batch.storage.asking import asked, said
from app.batch.storage.names import is_remote, locate, path_of
from app.errors import StartError, without_password
from app.imaging import folder


def find(argument: str) -> Iterator[str]:
    """Yield the files that an argument names: a file, all below a folder, or those that match a pattern.

    The names are yielded as they are found, so that a million of them take no memory; in object storage those of one
    folder are held at a time. Raises `StartError` for a folder that cannot be read. A missing file is named, too.
    """
    try:
        yield from _remote(argument) if is_remote(argument) else _local(path_of(argument))
    except StartError:
        raise
    except Exception as exc:  # packages of others have errors of their own
        raise StartError(f"cannot look for photos in {without_password(argument)}: {said(exc)}") from exc


def _local(argument: str) -> Iterator[str]:
    if os.path.isdir(argument):
        yield from folder.files(argument)
    elif os.path.exists(argument) or not has_magic(argument):
        yield argument
    else:
        yield from (name for name in iglob(argument, recursive=True) if os.path.isfile(name))


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


def inside(name: str) -> Iterator[str]:
    """Yield the names of what is directly in a folder, which may be missing.

    Raises `OSError` if it is a file or cannot be read; for object storage `Unreadable`, or `Unreachable` after some
    time.
    """
    if is_remote(name):

        def ask() -> Any:
            system, path = locate(name)
            return system.get_file_info(fs.FileSelector(path, allow_not_found=True))

        yield from (info.base_name for info in asked(name, ask))
        return
    with suppress(FileNotFoundError), os.scandir(name) as entries:
        yield from (entry.name for entry in entries)
