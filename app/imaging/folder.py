"""Finds the files below a folder, those in linked folders included."""

import os
from collections.abc import Iterator


def files(folder: str) -> Iterator[str]:
    """Yield the path of each file below a folder, in no order. No more names are held than there are folders.

    A link to a folder stands for that folder, unless it is one that the link is in: that would lead in a circle. A link
    that leads nowhere is a file, which cannot be read. Raises `OSError` for a folder that cannot be read.
    """
    waiting: list[tuple[str, tuple[tuple[int, int], ...]]] = [(folder, ())]  # folders, each with those that it is in
    while waiting:
        path, parents = waiting.pop()
        found = os.stat(path)
        identity = found.st_dev, found.st_ino
        if identity in parents:
            continue
        with os.scandir(path) as entries:
            for entry in entries:
                if _is_folder(entry):
                    waiting.append((entry.path, (*parents, identity)))
                else:
                    yield entry.path


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself, or where nobody may look
        return False
