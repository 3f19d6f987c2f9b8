"""The names of classes, which are those of their folders, and the names of files."""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from app.errors import StartError

SPLITS = frozenset({"train", "training", "val", "valid", "validation", "test"})
"""Folders of these names alone are parts of a data set and no classes."""


def natural(name: str) -> list[tuple[bool, int, str]]:
    """Return a key by which names are sorted as people do it: 1, 2, 10, and letters whatever their case."""
    parts = re.findall(r"[0-9]+|[^0-9]+", name)
    return [(not part.isdecimal(), int(part) if part.isdecimal() else 0, part.casefold()) for part in parts]


def shown(path: Path | str) -> str:
    """Return the name of a file as text, in which bytes that are not UTF-8 are escaped: the card is in UTF-8."""
    return str(path).encode(errors="backslashreplace").decode()


def class_name(folder: Path) -> str:
    """Return the name of a class: that of its folder, in one form of Unicode and with single spaces."""
    return " ".join(unicodedata.normalize("NFC", folder.name).split())


def check(folder: Path, names: Sequence[str], found: Sequence[str]) -> None:
    """Raise `StartError` if the folders `found` in a folder are no classes, or not among the classes `names`."""
    if not found:
        raise StartError(f"{folder} has no folders: put the photos of each class into a folder with the name of it")
    if unreadable := [name for name in found if shown(name) != name]:
        raise StartError(f"{folder} has a folder whose name is not text in UTF-8, {shown(unreadable[0])}: rename it")
    if {name.casefold() for name in found} <= SPLITS:
        first = found[0] if len(found) == 1 else next((name for name in found if name.startswith("train")), found[0])
        others = " ".join(f"--validation {folder / name}" for name in found if name.startswith("val"))
        raise StartError(
            f"{folder} has the folders {', '.join(found)}, which are no classes: try `mobilenet train {folder / first} "
            f"{others}".rstrip()
            + "`"
        )
    if twice := [name for name, count in Counter(found).items() if count > 1]:
        raise StartError(f"{folder} has two folders that are both called {twice[0]!r}")
    if unknown := [name for name in found if name not in names]:
        raise StartError(f"{folder / unknown[0]} is not a class of the photos to train with: {', '.join(names)}")
    if len(names) < 2:
        raise StartError(f"{folder} has one class, {found[0]!r}: a classifier needs at least two to tell apart")
