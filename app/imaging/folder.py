"""Finds files: all below a folder, those in linked folders included, or those that a pattern stands for."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from app.imaging.pattern import WHOLE, Pattern


class Folder(Protocol):
    """A folder of this machine or in object storage."""

    def entries(self, names: Sequence[str] | None) -> "Iterator[Entry]":
        """Yield what is directly in this folder. Unless `names` is None, it is enough to yield what has these names."""


class Entry(NamedTuple):
    """What is in a folder: its name, its path as the user would write it, and the folder if it is one."""

    name: str
    path: str
    folder: Folder | None


class Match(NamedTuple):
    """A file, and whether the pattern matches it by itself, or only a folder that it is in."""

    path: str
    itself: bool


def matching(top: Folder, pattern: Pattern) -> Iterator[Match]:
    """Yield the files that a pattern in a folder stands for, in no order.

    Only folders where there may be some are read. No more names are held than there are folders. Raises what reading
    one does.
    """
    waiting = [(top, pattern.start)]
    while waiting:
        parent, before = waiting.pop()
        for name, path, folder in parent.entries(pattern.names(before)):
            places = pattern.after(before, name)
            if folder and places:
                waiting.append((folder, places))
            elif not folder and pattern.matches(places):
                yield Match(path, not pattern.matches(before))


def files(folder: str) -> Iterator[str]:
    """Yield the path of each file below a folder, in no order. Raises `OSError` for a folder that cannot be read."""
    return (found.path for found in matching(Here(folder), WHOLE))


@dataclass(frozen=True, slots=True)
class Here:
    """A folder of this machine, and those that it is in, each by its device and its number there.

    A link to a folder stands for that folder, unless it is one that the link is in: that would lead in a circle. Only a
    pattern that has the name of the link goes there. A link that leads nowhere is a file, which cannot be read.
    """

    path: str
    parents: tuple[tuple[int, int], ...] = ()

    def entries(self, names: Sequence[str] | None) -> Iterator[Entry]:
        """Yield what is in this folder. Raises `OSError` if it cannot be read."""
        here = self.path or os.curdir
        found = os.stat(here)
        parents = (*self.parents, (found.st_dev, found.st_ino))
        if parents[-1] in self.parents:
            return
        if names is not None:  # a folder that may not be listed may still have them
            for name in names:
                path = os.path.join(self.path, name)
                if os.path.lexists(path):
                    yield Entry(name, path, Here(path) if os.path.isdir(path) else None)
            return
        with os.scandir(here) as entries:
            for entry in entries:
                path = os.path.join(self.path, entry.name)
                yield Entry(entry.name, path, Here(path, parents) if _is_folder(entry) else None)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself, or where nobody may look
        return False
