"""What a folder of photos holds: its classes, its photos, and in plain sentences what is wrong with it.

Each folder in it is a class, and all images in that folder, however deep, are photos of it. Everything is looked at
before a training begins, since a mistake that shows after ten minutes costs ten minutes.
"""

import json
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
from app.imaging.formats import is_photo
from app.machine import available_cpus
from app.training.names import check, class_name, natural, shown

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
    check(folder, folders, classes or ())
    names = tuple(classes or map(class_name, folders))
    indices = {name: index for index, name in enumerate(names)}
    photos = [Photo(path, indices[class_name(sub)]) for sub in folders for path in _files(sub)]
    looks = list(progress(_looks(photos, max_pixels), len(photos)))
    good, remarks = _sorted_out(looks)
    used, digests = [one.photo for one in good], [one.digest or b"" for one in good]
    return Survey(names, tuple(used), tuple(digests), (*_beside(folder), *remarks), folder)


def readable(paths: Sequence[Path], max_pixels: int, progress: Progress) -> list[Photo]:
    """Return those of these files that can be read, whatever they show. Raises `StartError` if none can."""
    looks = progress(_looks([Photo(path, 0) for path in paths], max_pixels), len(paths))
    found = [look.photo for look in looks if look.digest is not None]
    if not found:
        raise StartError(f"none of {len(paths):,} files can be read, such as {paths[0]}")
    return found


def _inside(folder: Path) -> list[Path]:
    """Return the files and folders in a folder, without hidden ones, in natural order."""
    try:
        inside = [path for path in folder.iterdir() if not path.name.startswith(".")]
    except OSError as exc:
        raise StartError(f"cannot read the folder {folder}: {exc.strerror}") from exc
    return sorted(inside, key=lambda path: (natural(path.name), path.name))


def _class_folders(folder: Path) -> list[Path]:
    try:
        return [path for path in _inside(folder) if path.is_dir() and path.name.casefold() not in NO_CLASSES]
    except OSError as exc:
        raise StartError(f"cannot read {exc.filename}: {exc.strerror}") from exc


def _beside(folder: Path) -> Iterator[str]:
    """Yield a remark on photos that are in no folder of a class, if there are any."""
    if photos := [path for path in _inside(folder) if is_photo(path.name) and path.is_file()]:
        yield (
            f"{_listed(photos)} beside the folders of the classes, and left out: a photo belongs in the folder of its "
            "class"
        )


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
    with ThreadPoolExecutor(available_cpus()) as pool:
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
    remarks = list(_unreadable(looks))
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


def _unreadable(looks: Sequence[Look]) -> Iterator[str]:
    """Yield a remark on the files that cannot be read for each reason. What is called a photo comes first."""
    unreadable = [look for look in looks if look.digest is None]
    unreadable.sort(key=lambda look: not is_photo(look.photo.path.name))
    reasons: dict[str, list[Path]] = {}
    for look in unreadable:
        told_apart = look.reason in reasons or len(reasons) < LISTED
        reasons.setdefault(look.reason if told_apart else "for other reasons", []).append(look.photo.path)
    for reason, paths in reasons.items():
        yield f"{_listed(paths)} no image that can be read, and left out ({reason})"


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
