"""Photos to train on, and crops of them, resized as the service would resize them."""

import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from zlib import crc32

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from app.machine import available_cpus

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]
Indices = NDArray[np.int64]
Box = Sequence[float]
"""Left, top, right and bottom, in pixels."""

SIDE = 224
CENTRAL_CROP: Box = (SIDE / 16, SIDE / 16, SIDE * 15 / 16, SIDE * 15 / 16)
"""The part of a photo that the service classifies: the central 87.5 % of each side."""

AREA = (0.25, 1.0)
"""The least and the largest area of a crop, as a share of the photo.

The usual 8 to 100 % is a stronger augmentation, too strong for a small network, which underfits.
"""
ASPECT = (0.8, 1.25)
HELD_OUT = 0.05


@dataclass(frozen=True, slots=True)
class Photos:
    """All photos, uint8 `[n, 224, 224, 3]`, their class indices `[n]`, and the sorted WordNet ids of the classes."""

    pixels: Pixels
    labels: Indices
    wnids: list[str]

    @classmethod
    def load(cls, folder: Path, cache: Path) -> "Photos":
        """Read `folder/<WordNet id>/*`. The decoded photos are saved in `cache`, and mapped into memory from there."""
        wnids = sorted(path.name for path in folder.iterdir() if path.is_dir())
        files = [path for wnid in wnids for path in sorted((folder / wnid).iterdir())]
        names = "\n".join(f"{path.parent.name}/{path.name}" for path in files)
        path = cache / f"photos-{crc32(names.encode()):08x}.npy"
        if not path.exists():
            write_whole(path, lambda file: np.save(file, decode_all(files)))
        return cls(np.load(path, mmap_mode="r"), np.array([wnids.index(file.parent.name) for file in files]), wnids)


def decode_all(files: list[Path]) -> Pixels:
    """Return the photos as uint8 RGB `[n, 224, 224, 3]`."""
    with ThreadPoolExecutor(available_cpus()) as pool:
        return np.stack(list(pool.map(_decode, files)))


def _decode(path: Path) -> Pixels:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR))


def crop(photo: Pixels, box: Box, resolution: int) -> Pixels:
    """Return a box of the photo as uint8 `[r, r, 3]`, resized as the service does it: bilinear, with antialiasing."""
    left, top, right, bottom = map(float, box)
    image = Image.fromarray(photo)
    size = (resolution, resolution)
    return np.asarray(image.resize(size, Image.Resampling.BILINEAR, box=(left, top, right, bottom)))


def cut(photos: Pixels, indices: Indices, boxes: Floats, mirror: NDArray[np.bool_], resolution: int) -> Pixels:
    """Return box `boxes[i]` of photo `indices[i]` for each i, uint8 `[n, r, r, 3]`; mirrored where `mirror` is true."""
    crops = np.stack([crop(photos[index], box, resolution) for index, box in zip(indices, boxes, strict=True)])
    crops[mirror] = crops[mirror, :, ::-1]
    return crops


def random_boxes(photos: int, crops: int, seed: int, area: tuple[float, float] = AREA) -> Floats:
    """Return random boxes `[photos, crops, 4]`: first their area and aspect ratio are drawn, then their place."""
    rng = np.random.default_rng(seed)
    side = np.sqrt(rng.uniform(*area, (photos, crops)))
    low, high = np.log(ASPECT) / 2
    stretch = np.exp(rng.uniform(low, high, (photos, crops)))
    size = np.minimum(np.stack([side * stretch, side / stretch], axis=-1), 1)
    corner = rng.uniform(size=size.shape) * (1 - size)
    return (np.concatenate([corner, corner + size], axis=-1) * SIDE).astype(np.float32).clip(0, SIDE)


def imagenet_classes(labels: Path, wnids: list[str]) -> list[int]:
    """Return the class index of each WordNet id by a `labels.json` of ImageNet, a list of `index` and `wnid`."""
    index = {entry["wnid"]: entry["index"] for entry in json.loads(labels.read_text(encoding="utf-8"))}
    return [index[wnid] for wnid in wnids]


def split(count: int, seed: int) -> tuple[Indices, Indices]:
    """Return the indices of the photos to train on, and of those held out; the seed determines which."""
    order = np.random.default_rng(seed).permutation(count)
    held_out = round(count * HELD_OUT)
    return np.sort(order[held_out:]), np.sort(order[:held_out])


def write_whole(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file atomically, so that a program that is killed leaves no half-written file."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")  # another process may be writing the same file
    with part.open("wb") as file:
        write(file)
    part.replace(path)
