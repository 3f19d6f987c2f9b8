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
BESIDE = frozenset({"set", "seg", "data", "dataset", "images", "img"})
"""Words that may stand beside them in such a name, as numbers may."""


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


def check(folder: Path, found: Sequence[Path], known: Sequence[str] = ()) -> None:
    """Raise `StartError` if the folders `found` are no classes or, where classes are `known`, others than these."""
    if not found:
        raise StartError(f"{folder} has no folders: put the photos of each class into a folder with the name of it")
    if unreadable := [path.name for path in found if shown(path.name) != path.name]:
        raise StartError(f"{folder} has a folder whose name is not text in UTF-8, {shown(unreadable[0])}: rename it")
    if blank := [path.name for path in found if not class_name(path)]:
        raise StartError(f"{folder} has a folder whose name is blank, {blank[0]!r}: rename it")
    classes = [class_name(path) for path in found]
    if twice := [name for name, count in Counter(classes).items() if count > 1]:
        raise StartError(f"{folder} has two folders that are both called {twice[0]!r}")
    if known:
        if unknown := [name for name in classes if name not in known]:
            raise StartError(f"{folder / unknown[0]} is not a class of the photos to train with: {', '.join(known)}")
        return
    _check_parts(folder, found)
    if len(found) == 1:
        raise StartError(
            f"{folder} has one class, {classes[0]!r}: a classifier needs at least two to tell apart"
            + (f"; try `mobilenet train {_quoted(found[0])}`" if _folders_in(found[0]) > 1 else "")
        )


def part(name: str) -> str:
    """Return which part of a data set a folder of this name is, such as `seg_train`; nothing if it is none."""
    words = re.sub(r"[\s_\-0-9]", " ", name.casefold()).split()
    if not BESIDE.union(PARTS).issuperset(words):
        return ""
    return next((PARTS[word] for word in words if word in PARTS), "")


def _check_parts(folder: Path, found: Sequence[Path]) -> None:
    """Raise `StartError` if the folders in a folder are the parts of a data set.

    Folders that are all of one part may be classes, such as `test 1` and `test 2`, but not `train` and `training`.
    """
    parts = [part(path.name) for path in found]
    if "" in parts or (len(set(parts)) == 1 and not PARTS.keys() >= {path.name.casefold() for path in found}):
        return
    first = found[parts.index("train") if "train" in parts else 0]
    others = [path for path, one in zip(found, parts, strict=True) if one == "val" and path != first]
    validation = f" --validation {_quoted(others[0])}" if others else ""
    raise StartError(
        f"{folder} has the folders {', '.join(path.name for path in found)}, which are no classes: try "
        f"`mobilenet train {_quoted(first)}{validation}`"
    )


def _folders_in(folder: Path) -> int:
    """Return how many folders are in a folder; none if nobody may look into it."""
    try:
        return len([path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")])
    except OSError:
        return 0


def _quoted(path: Path) -> str:
    return shlex.quote(shown(path))
