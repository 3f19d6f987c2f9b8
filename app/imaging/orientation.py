"""How an image lies by its EXIF orientation, 1 to 8, and how its pixels are turned upright."""

from collections.abc import Callable
from contextlib import suppress
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image
from PIL.Image import Transpose as Turn

UPRIGHT: Final = 1
SIDEWAYS: Final = (5, 6, 7, 8)
"""The orientations of images that lie on their side."""
_TURNS: Final = {
    2: Turn.FLIP_LEFT_RIGHT,
    3: Turn.ROTATE_180,
    4: Turn.FLIP_TOP_BOTTOM,
    5: Turn.TRANSPOSE,
    6: Turn.ROTATE_270,
    7: Turn.TRANSVERSE,
    8: Turn.ROTATE_90,
}


def orientation(exif: Callable[[], Image.Exif]) -> int:
    """Return the orientation in the EXIF data that a function reads; upright, where they have none or are damaged."""
    with suppress(Exception):  # damaged EXIF is no reason to refuse good pixels
        found = exif().get(ExifTags.Base.Orientation)
        return found if found in _TURNS else UPRIGHT
    return UPRIGHT


def upright(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Turn pixels `[h, w, 3]` as an orientation says."""
    turn = _TURNS.get(orientation)
    return pixels if turn is None else np.asarray(Image.fromarray(pixels).transpose(turn))
