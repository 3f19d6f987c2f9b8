"""The names of classes, which are those of their folders, and the names of files."""

import re
import shlex
import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from app.errors import StartError

PARTS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
    **dict.fromkeys(("pred", "prediction"), "pred"),
}
"""Words in the names of folders that are parts of a data set, and which part each stands for."""


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


def check(folder: Path, names: Sequence[str], found: Sequence[Path]) -> None:
    """Raise `StartError` if the folders `found` in a folder are no classes, or not among the classes `names`."""
    if not found:
        raise StartError(f"{folder} has no folders: put the photos of each class into a folder with the name of it")
    if unreadable := [path.name for path in found if shown(path.name) != path.name]:
        raise StartError(f"{folder} has a folder whose name is not text in UTF-8, {shown(unreadable[0])}: rename it")
    if blank := [path.name for path in found if not class_name(path)]:
        raise StartError(f"{folder} has a folder whose name is blank, {blank[0]!r}: rename it")
    _check_parts(folder, found)
    classes = [class_name(path) for path in found]
    if twice := [name for name, count in Counter(classes).items() if count > 1]:
        raise StartError(f"{folder} has two folders that are both called {twice[0]!r}")
    if unknown := [name for name in classes if name not in names]:
        raise StartError(f"{folder / unknown[0]} is not a class of the photos to train with: {', '.join(names)}")
    if len(names) < 2:
        inside = len([path for path in found[0].iterdir() if path.is_dir() and not path.name.startswith(".")])
        raise StartError(
            f"{folder} has one class, {names[0]!r}: a classifier needs at least two to tell apart"
            + (f"; try `mobilenet train {_quoted(found[0])}`" if inside > 1 else "")
        )


def _check_parts(folder: Path, found: Sequence[Path]) -> None:
    """Raise `StartError` if the folders in a folder are the parts of a data set, each of them another part."""
    parts = {_part(path.name): path for path in found}
    if "" in parts or len(parts) < len(found):
        return
    first = parts.get("train", found[0])
    others = f" --validation {_quoted(parts['val'])}" if "val" in parts else ""
    raise StartError(
        f"{folder} has the folders {', '.join(path.name for path in found)}, which are no classes: try "
        f"`mobilenet train {_quoted(first)}{others}`"
    )


def _part(name: str) -> str:
    """Return which part of a data set a folder of this name may be, such as `seg_train`; nothing if it is none."""
    words = re.findall("[a-z]+", name.casefold())
    return next((PARTS[word] for word in words if word in PARTS), "")


def _quoted(path: Path) -> str:
    return shlex.quote(shown(path))
