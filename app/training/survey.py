"""What a folder of photos holds: its classes, its photos, and in plain sentences what is wrong with it.

Each folder in it is a class, and all images in that folder, however deep, are photos of it. Everything is looked at
before a training begins, since a mistake that shows after ten minutes costs ten minutes.
"""

import json
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

import numpy as np

from app.errors import ServiceError, StartError
from app.imaging import decode
from app.imaging.folder import files

FEWEST = 4
"""A class needs so many photos: one is held out, and from fewer than three nothing can be learnt."""
FEW = 20
"""A class of fewer photos gets a warning."""
UNEVEN = 10
"""A warning is given if the largest class has so many times as many photos as the smallest."""
LISTED = 5
"""How many files of a kind are named; the others are counted."""
NO_PHOTOS = frozenset({"thumbs.db", "desktop.ini", "ehthumbs.db"})
NO_CLASSES = frozenset({"__macosx"})
SPLITS = frozenset({"train", "training", "val", "valid", "validation", "test"})
"""Folders of these names alone are parts of a data set and no classes."""
LOOKED_AT = 96
"""The side in pixels at which photos are compared."""

Progress = Callable[[Iterable["Look"], int], Iterable["Look"]]
"""Yields the looks that it is given, whose number is the second argument, and shows how far it is."""


class Photo(NamedTuple):
    """A photo, and the index of its class."""

    path: Path
    label: int


class Look(NamedTuple):
    """A photo, and the digest of its pixels or the reason why it cannot be read."""

    photo: Photo
    digest: bytes | None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Survey:
    """The classes in natural order, the photos that can be used, the digest of each, and what their owner should know.

    A digest is that of the pixels and not of the file, so that copies in another format have the same. `folder` is the
    one in which the folders of the classes are.
    """

    classes: tuple[str, ...]
    photos: tuple[Photo, ...]
    digests: tuple[bytes, ...]
    remarks: tuple[str, ...] = ()
    folder: Path = Path()

    @property
    def labels(self) -> list[int]:
        """The class index of each photo."""
        return [photo.label for photo in self.photos]

    @property
    def digest(self) -> str:
        """What stands for the classes and for every photo of each, in their order."""
        photos = [(digest.hex(), photo.label) for digest, photo in zip(self.digests, self.photos, strict=True)]
        return blake2b(json.dumps([self.classes, photos]).encode()).hexdigest()

    def without(self, others: "Survey") -> "Survey":
        """Return this survey without the photos that are among the others too."""
        known = set(others.digests)
        kept = [index for index, digest in enumerate(self.digests) if digest not in known]
        dropped = [photo.path for index, photo in enumerate(self.photos) if self.digests[index] in known]
        remarks = self.remarks
        if dropped:
            remarks += (f"{_listed(dropped)} among the photos to validate with too, and left out of the training",)
        return replace(
            self,
            photos=tuple(self.photos[index] for index in kept),
            digests=tuple(self.digests[index] for index in kept),
            remarks=remarks,
        )


def survey(folder: Path, max_pixels: int, progress: Progress, classes: Sequence[str] | None = None) -> Survey:
    """Look at every photo of a folder. Raises `StartError` if its folders are no classes, or not among `classes`."""
    folders = _class_folders(folder)
    names = tuple(classes or map(_class_name, folders))
    _check_names(folder, names, [_class_name(path) for path in folders])
    indices = {name: index for index, name in enumerate(names)}
    photos = [Photo(path, indices[_class_name(sub)]) for sub in folders for path in _files(sub)]
    looks = list(progress(_looks(photos, max_pixels), len(photos)))
    good, remarks = _sorted_out(looks)
    used, digests = [one.photo for one in good], [one.digest or b"" for one in good]
    return Survey(names, tuple(used), tuple(digests), tuple(remarks), folder)


def readable(paths: Sequence[Path], max_pixels: int, progress: Progress) -> list[Photo]:
    """Return those of these files that can be read, whatever they show. Raises `StartError` if none can."""
    looks = progress(_looks([Photo(path, 0) for path in paths], max_pixels), len(paths))
    found = [look.photo for look in looks if look.digest is not None]
    if not found:
        raise StartError(f"none of {len(paths):,} files can be read, such as {paths[0]}")
    return found


def natural(name: str) -> list[tuple[bool, int, str]]:
    """Return a key by which names are sorted as people do it: 1, 2, 10, and letters whatever their case."""
    parts = re.findall(r"[0-9]+|[^0-9]+", name)
    return [(not part.isdecimal(), int(part) if part.isdecimal() else 0, part.casefold()) for part in parts]


def _class_name(folder: Path) -> str:
    """Return the name of a class: that of its folder, in one form of Unicode and with single spaces."""
    return " ".join(unicodedata.normalize("NFC", folder.name).split())


def _class_folders(folder: Path) -> list[Path]:
    try:
        inside = [path for path in folder.iterdir() if not path.name.startswith(".")]
    except OSError as exc:
        raise StartError(f"cannot read the folder {folder}: {exc.strerror}") from exc
    found = [path for path in inside if path.is_dir() and path.name.casefold() not in NO_CLASSES]
    return sorted(found, key=lambda path: (natural(path.name), path.name))


def _check_names(folder: Path, names: Sequence[str], found: Sequence[str]) -> None:
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


def _files(folder: Path) -> list[Path]:
    """Return the files below a folder that may be photos, in natural order."""
    try:
        found = [Path(name) for name in files(str(folder))]
    except OSError as exc:
        raise StartError(f"cannot look for photos in {exc.filename}: {exc.strerror}") from exc
    shown = [path for path in found if _is_shown(path.relative_to(folder))]
    return sorted(shown, key=lambda path: [natural(part) for part in path.parts])


def _is_shown(path: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.parts)
    return not hidden and path.name.casefold() not in NO_PHOTOS


def _looks(photos: Sequence[Photo], max_pixels: int) -> Iterator[Look]:
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield from pool.map(lambda photo: _look(photo, max_pixels), photos)


def _look(photo: Photo, max_pixels: int) -> Look:
    try:
        pixels = decode.decode(photo.path.read_bytes(), resolution=LOOKED_AT, max_pixels=max_pixels)
    except ServiceError as exc:
        return Look(photo, None, exc.detail)
    except OSError as exc:
        return Look(photo, None, exc.strerror or str(exc))
    return Look(photo, blake2b(np.ascontiguousarray(pixels).data, digest_size=16).digest())


def _sorted_out(looks: Sequence[Look]) -> tuple[list[Look], list[str]]:
    """Return the photos that can be used, and remarks on the others."""
    remarks = []
    if unreadable := [look for look in looks if look.digest is None]:
        paths = [look.photo.path for look in unreadable]
        remarks.append(f"{_listed(paths)} no image that can be read, and left out ({unreadable[0].reason})")
    classes: dict[bytes, set[int]] = {}
    for look in looks:
        if look.digest is not None:
            classes.setdefault(look.digest, set()).add(look.photo.label)
    if both := [look for look in looks if look.digest is not None and len(classes[look.digest]) > 1]:
        paths = [look.photo.path for look in both]
        remarks.append(f"{_listed(paths)} in more than one class with the same pixels, and left out of all")
    good: dict[bytes, Look] = {}
    again = []
    for look in looks:
        if look.digest is None or len(classes[look.digest]) > 1:
            continue
        if look.digest in good:
            again.append(look.photo.path)
        good.setdefault(look.digest, look)
    if again:
        remarks.append(f"{_listed(again)} there twice with the same pixels, and used once")
    return list(good.values()), remarks


def shown(path: Path | str) -> str:
    """Return the name of a file as text, in which bytes that are not UTF-8 are escaped: the card is in UTF-8."""
    return str(path).encode(errors="backslashreplace").decode()


def _listed(paths: Sequence[Path]) -> str:
    """Return the first of these files and how many more there are, and the verb for so many."""
    first = ", ".join(map(shown, paths[:LISTED]))
    more = len(paths) - LISTED
    return f"{first}{f' and {more:,} more' if more > 0 else ''} {'is' if len(paths) == 1 else 'are'}"


def checked(folder: Path, found: Survey) -> Survey:
    """Return the photos to learn from, with remarks on small classes. Raises `StartError` if one is too small."""
    counts = Counter(found.labels)
    short = [f"{name!r} has {counts[index]}" for index, name in enumerate(found.classes) if counts[index] < FEWEST]
    if short:
        wrong = f"a class in {folder} needs at least {FEWEST} different photos that can be read; {'; '.join(short)}"
        raise StartError("\n".join([wrong, *found.remarks]))
    return replace(found, remarks=(*found.remarks, *_uneven(found, counts)))


def measured_on(folder: Path, found: Survey) -> Survey:
    """Return the photos that the accuracy is measured on. Raises `StartError` if there are none."""
    if found.photos:
        return found
    raise StartError("\n".join([f"--validation {folder}: there is no photo in it to measure on", *found.remarks]))


def _uneven(found: Survey, counts: Counter[int]) -> Iterator[str]:
    few = [f"{name} ({counts[index]})" for index, name in enumerate(found.classes) if counts[index] < FEW]
    if few:
        yield f"classes with fewer than {FEW} photos will be learnt badly: {', '.join(few)}"
    if max(counts.values()) >= UNEVEN * min(counts.values()):
        large, small = (found.classes[pick(counts, key=lambda one: counts[one])] for pick in (max, min))
        yield (
            f"{large} has {max(counts.values()):,} photos and {small} {min(counts.values()):,}: mistakes with rare "
            "classes are made to weigh more, but more photos of them help more"
        )


def hold_out(labels: Sequence[int], share: float, seed: int) -> tuple[list[int], list[int]]:
    """Return the indices of the photos to train on, and of those held out: this share of each class, at least one."""
    rng = np.random.default_rng(seed)
    held: list[int] = []
    for label in sorted(set(labels)):
        indices = [index for index, one in enumerate(labels) if one == label]
        count = min(max(1, round(share * len(indices))), len(indices) - 1)
        held += [indices[place] for place in rng.permutation(len(indices))[:count]]
    kept = set(held)
    return [index for index in range(len(labels)) if index not in kept], sorted(held)
