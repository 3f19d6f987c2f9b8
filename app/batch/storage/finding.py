"""Finding files: all below a folder, those that match a pattern, and what is directly in a folder."""

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from pyarrow import fs

from app.batch.storage.asking import asked, said
from app.batch.storage.names import is_remote, locate, path_of
from app.errors import StartError, without_password
from app.imaging.folder import Entry, Folder, Here, files, matching
from app.imaging.pattern import WHOLE, Pattern, split

_ROOT: Final = 3
"""How many parts between slashes a URL has before its path (`s3:`, nothing, and the bucket). They are no pattern."""


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
        where = without_password(getattr(exc, "filename", None) or argument)
        raise StartError(f"cannot look for photos in {where}: {said(exc)}") from exc


def _local(argument: str) -> Iterator[str]:
    if os.path.isdir(argument):
        yield from files(argument)
    elif os.path.exists(argument) or (found := split(argument)) is None:
        yield argument
    else:
        folder, pattern = found
        yield from _paths(Here(folder), pattern)


def _remote(argument: str) -> Iterator[str]:
    system, path = locate(argument)
    kind = system.get_file_info(path).type
    if kind == fs.FileType.Directory:
        yield from _paths(_There(argument.rstrip("/"), system, path), WHOLE)
    elif kind == fs.FileType.File or (found := split(argument, _ROOT)) is None:
        yield argument
    else:
        folder, pattern = found
        yield from _paths(_There(folder.rstrip("/"), system, locate(folder)[1]), pattern)


def _paths(top: Folder, pattern: Pattern) -> Iterator[str]:
    return (found.path for found in matching(top, pattern))


@dataclass(frozen=True, slots=True)
class _There:
    """A folder in object storage: its URL, its file system, and its path in that."""

    url: str
    system: Any
    path: str

    def entries(self, _names: Sequence[str] | None) -> Iterator[Entry]:
        """Yield what is in this folder. Raises what `system` does if that does not answer."""
        for info in self.system.get_file_info(fs.FileSelector(self.path)):
            url = self.url + info.path[len(self.path) :]
            is_folder = info.type == fs.FileType.Directory
            yield Entry(info.base_name, url, _There(url, self.system, info.path) if is_folder else None)


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
