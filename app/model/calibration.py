"""Photos for calibrating an int8 model: a sample of a folder, decoded as the service decodes its uploads."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.engines.files import reading
from app.errors import ServiceError, StartError
from app.imaging import decode

COUNT = 400
FEWEST = 2
"""One to calibrate with, and another to compare the model on."""


def load(folder: Path, resolution: int, max_pixels: int) -> NDArray[np.uint8]:
    """Return up to 400 photos of a folder and its subfolders as uint8 `[n, r, r, 3]`, the same ones in every call.

    Files that cannot be decoded are skipped. Raises `StartError` if fewer than two can.
    """
    with reading("--calibrate"):
        files = sorted(path for path in folder.rglob("*") if path.is_file())
    photos: list[NDArray[np.uint8]] = []
    for index in np.random.default_rng(0).permutation(len(files)):
        try:
            photos.append(decode.decode(files[index].read_bytes(), resolution=resolution, max_pixels=max_pixels))
        except (OSError, ServiceError):
            continue
        if len(photos) == COUNT:
            break
    if not photos:
        raise StartError(f"there is no image to calibrate with in {folder}")
    if len(photos) < FEWEST:
        raise StartError(f"there is one image to calibrate with in {folder}, and {FEWEST} are the fewest")
    return np.stack(photos)
