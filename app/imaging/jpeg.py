"""Baseline JPEG, as cameras write it, by libjpeg-turbo straight into an array: Pillow's pixels in half of its time.

It takes what is plainly good. What is odd about a file is left to Pillow, which says what is wrong with it, if it is.
"""

from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import ExifTags, Image

_MAX_SEGMENTS: Final = 64
_FRAME, _SCAN, _APP1 = 0xC0, 0xDA, 0xE1
_OTHER_FRAMES: Final = set(range(0xC1, 0xD0)) - {0xC4, 0xC8, 0xCC}  # those three are tables
_EXIF: Final = b"Exif\0\0"
_COLOURS: Final = ("YCbCr", "Gray")


@dataclass(frozen=True, slots=True)
class Photo:
    """Decoded pixels, uint8 RGB `[h, w, 3]`, the size without rounding up, and the EXIF orientation, 1 to 8.

    It is so many times as small as the file's, by `scale`.
    """

    pixels: NDArray[np.uint8]
    width: float
    height: float
    orientation: int
    scale: int

    def serves(self, needed: int) -> bool:
        """Whether `read` would return the same for a shorter side of no less than `needed` pixels."""
        return _scale(min(self.width, self.height) * self.scale, needed) == self.scale


def read(raw: bytes, needed: int, max_pixels: int, max_decoded: int) -> Photo | None:
    """Decode a JPEG, its shorter side scaled by 1, 1/2, 1/4 or 1/8 to no less than `needed` pixels where it has them.

    None for more than `max_pixels` pixels, for more than `max_decoded` after the scaling, and for what is no good
    baseline JPEG in colour or grey.
    """
    with suppress(Exception):
        orientation = _orientation(raw)
        height, width, colours, _ = simplejpeg.decode_jpeg_header(raw)
        scale = _scale(min(height, width), needed)
        rows, columns = -(-height // scale), -(-width // scale)
        if orientation and colours in _COLOURS and height * width <= max_pixels and rows * columns <= max_decoded:
            pixels = simplejpeg.decode_jpeg(raw, min_height=rows, min_width=columns)
            return Photo(pixels, width / scale, height / scale, orientation, scale)
    return None


def _scale(side: float, needed: int) -> int:
    return next(scale for scale in (8, 4, 2, 1) if side // needed >= scale or scale == 1)


def _orientation(raw: bytes) -> int:
    """Return the EXIF orientation, 1 where there is none; 0 if this is no baseline JPEG or it is not that simple."""
    at, exif = 2, b""
    baseline = False
    for _ in range(_MAX_SEGMENTS):
        kind, size = raw[at + 1], int.from_bytes(raw[at + 2 : at + 4], "big")
        segment = raw[at + 4 : at + 2 + size]
        if raw[at] != 0xFF or kind in _OTHER_FRAMES:
            break
        if kind == _SCAN:
            return _of(exif) if baseline else 0
        if kind == _APP1:
            if exif or not segment.startswith(_EXIF):
                break  # Pillow joins several, and reads XMP too
            exif = segment
        baseline |= kind == _FRAME
        at += 2 + size
    return 0


def _of(exif: bytes) -> int:
    found = Image.Exif()
    with suppress(Exception):  # damaged EXIF is no reason to refuse good pixels
        found.load(exif)
        orientation = found.get(ExifTags.Base.Orientation, 1)
        return orientation if orientation in range(1, 9) else 1
    return 1
