"""Finding files: all below a folder, those that match a pattern, and what is directly in a folder."""

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Protocol

from pyarrow import fs

from app.batch.storage.asking import asked, said
from app.batch.storage.names import is_remote, locate, path_of
from app.batch.storage.pattern import WHOLE, Pattern, split
from app.errors import StartError, without_password

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
        raise StartError(f"cannot look for photos in {without_password(argument)}: {said(exc)}") from exc


def _local(argument: str) -> Iterator[str]:
    if os.path.isdir(argument):
        yield from _matching(_Here(argument), WHOLE)
    elif os.path.exists(argument) or (found := split(argument)) is None:
        yield argument
    else:
        folder, pattern = found
        yield from _matching(_Here(folder), pattern)


def _remote(argument: str) -> Iterator[str]:
    system, path = locate(argument)
    kind = system.get_file_info(path).type
    if kind == fs.FileType.Directory:
        yield from _matching(_There(argument.rstrip("/"), system, path), WHOLE)
    elif kind == fs.FileType.File or (found := split(argument, _ROOT)) is None:
        yield argument
    else:
        folder, pattern = found
        yield from _matching(_There(folder.rstrip("/"), system, locate(folder)[1]), pattern)


class _Folder(Protocol):
    def entries(self) -> "Iterator[_Entry]":
        """Yield what is directly in this folder."""


_Entry = tuple[str, str, _Folder | None]
"""The name of a file or a folder, its path as the user would write it, and the folder if it is one."""


def _matching(top: _Folder, pattern: Pattern) -> Iterator[str]:
    """Yield the files that a pattern in a folder stands for. Only the folders where there may be some are read."""
    waiting = [(top, pattern.start)]
    while waiting:
        parent, before = waiting.pop()
        for name, path, folder in parent.entries():
            places = pattern.after(before, name)
            if folder and places:
                waiting.append((folder, places))
            elif not folder and pattern.matches(places):
                yield path


@dataclass(frozen=True, slots=True)
class _Here:
    """A folder of this machine, and those that it is in, each by its device and its number there.

    A link to a folder stands for that folder, unless it is one that the link is in: that would lead in a circle. A link
    that leads nowhere is a file, which cannot be read.
    """

    path: str
    parents: tuple[tuple[int, int], ...] = ()

    def entries(self) -> Iterator[_Entry]:
        """Yield what is in this folder. Raises `OSError` if it cannot be read."""
        here = self.path or os.curdir
        found = os.stat(here)
        parents = (*self.parents, (found.st_dev, found.st_ino))
        if parents[-1] in self.parents:
            return
        with os.scandir(here) as entries:
            for entry in entries:
                path = os.path.join(self.path, entry.name)
                yield entry.name, path, _Here(path, parents) if _is_folder(entry) else None


def _is_folder(entry: os.DirEntry[str]) -> bool:
    return entry.is_dir(follow_symlinks=False) or (entry.is_symlink() and os.path.isdir(entry.path))


@dataclass(frozen=True, slots=True)
class _There:
    """A folder in object storage: its URL, its file system, and its path in that."""

    url: str
    system: Any
    path: str

    def entries(self) -> Iterator[_Entry]:
        """Yield what is in this folder. Raises what `system` does if that does not answer."""
        for info in self.system.get_file_info(fs.FileSelector(self.path)):
            url = self.url + info.path[len(self.path) :]
            is_folder = info.type == fs.FileType.Directory
            yield info.base_name, url, _There(url, self.system, info.path) if is_folder else None


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
