"""An opened image -> pixels that may be averaged: upright, on white, in sRGB.

Palette indices, transparency and inks may not be averaged, and colours of other profiles only roughly.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image
from PIL.Image import Transpose as Turn

from app.errors import UnsupportedImage
from app.imaging.codecs import tiff

_TURNS: Final = {
    2: Turn.FLIP_LEFT_RIGHT,
    3: Turn.ROTATE_180,
    4: Turn.FLIP_TOP_BOTTOM,
    5: Turn.TRANSPOSE,
    6: Turn.ROTATE_270,
    7: Turn.TRANSVERSE,
    8: Turn.ROTATE_90,
}
_GREYS: Final = ("1", "L", "LA", "La")
SIDEWAYS: Final = (5, 6, 7, 8)
"""The EXIF orientations of images that lie on their side."""


def flat(image: Image.Image) -> Image.Image:
    """Return a loaded image as L, RGB or CMYK, transparency on white. Raises `UnsupportedImage` without a fixed range.

    It lies on white before any scaling: that is cheaper than to scale transparency too, and rounded once.
    """
    if image.mode == "F":
        raise UnsupportedImage("floating-point pixels have no fixed range; save the image with 8 or 16 bits")
    if image.mode.startswith("I"):
        image = _high_byte(image)
    if image.has_transparency_data:
        grey = image.mode in _GREYS  # and stays so: its profile may be one of grey
        image = converted(image, "LA" if grey else "RGBA")
        white = Image.new("L" if grey else "RGB", image.size, "white")
        white.paste(image, mask=image)
        return white
    return image if image.mode in ("L", "CMYK") else converted(image, "RGB")


def converted(image: Image.Image, mode: str) -> Image.Image:
    """Return the image in another mode; itself where it has it, which `convert` would copy."""
    return image if image.mode == mode else image.convert(mode)


def orientation(image: Image.Image) -> int:
    """Return the EXIF orientation of an image, 1 to 8; 1, which is upright, where EXIF has none or is damaged.

    A TIFF has one until it is loaded: Pillow turns it then.
    """
    try:
        found = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # damaged EXIF is no reason to refuse good pixels
        return 1
    return found if found in _TURNS else 1


def turn(orientation: int) -> Turn | None:
    """Return how an image of this EXIF orientation is turned upright; None where it is upright."""
    return _TURNS.get(orientation)


def upright(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Turn pixels `[h, w, 3]` as an EXIF orientation, 1 to 8, says."""
    turned = _TURNS.get(orientation)
    return pixels if turned is None else np.asarray(Image.fromarray(pixels).transpose(turned))


def _high_byte(image: Image.Image) -> Image.Image:
    """Scale 16-bit grey (12-bit and 32-bit too) to L or LA, which Pillow's `convert` would clip."""
    grey = Image.fromarray(tiff.eight_bits(image))
    if (key := image.info.get("transparency")) is not None:
        grey.putalpha(Image.fromarray(np.where(np.asarray(image) == key, 0, 255).astype(np.uint8)))
    return grey
