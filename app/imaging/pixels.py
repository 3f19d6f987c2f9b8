"""An opened image -> pixels that may be averaged: on white, in grey, RGB or CMYK.

Palette indices, transparency and inks may not be averaged, and colours of other profiles only roughly.
"""

from typing import Final

import numpy as np
from PIL import Image

from app.errors import UnsupportedImage
from app.imaging.codecs import bmp, gif, tiff

_GREYS: Final = ("1", "L", "LA", "La")


def flat(image: Image.Image) -> Image.Image:
    """Return a loaded image as L, RGB or CMYK, transparency on white. Raises `UnsupportedImage` without a fixed range.

    It lies on white before any scaling: that is cheaper than to scale transparency too, and rounded once.
    """
    tiff.mend_palette(image)
    found = _flat(bmp.without_empty_alpha(image))
    for box in gif.uncovered(image):
        found.paste("white", box)
    return found


def _flat(image: Image.Image) -> Image.Image:
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


def _high_byte(image: Image.Image) -> Image.Image:
    """Scale 16-bit grey (12-bit and 32-bit too) to L or LA, which Pillow's `convert` would clip."""
    grey = Image.fromarray(tiff.eight_bits(image))
    if (key := image.info.get("transparency")) is not None:
        grey.putalpha(Image.fromarray(np.where(np.asarray(image) == key, 0, 255).astype(np.uint8)))
    return grey
