"""A box of an image, scaled as Pillow's antialiasing BILINEAR does it: in SIMD where there is a build, else by Pillow.

Both scale in one direction and then in the other, and round each time, differently in places: by one level of 255,
and seldom by two.
"""

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

try:
    import cykooz_resizer as simd
except ImportError:  # no build for this machine
    simd = None

Pixels = NDArray[np.uint8]
Box = tuple[float, float, float, float]
"""Left, top, right and bottom, in pixels."""

_BILINEAR: Final = simd and simd.ResizeAlg.convolution(simd.FilterType.bilinear)


def scaled(pixels: Pixels, box: Box, side: int) -> Pixels:
    """Return the box of an RGB image `[h, w, 3]` as `[side, side, 3]`."""
    return _by_pillow(pixels, box, side) if simd is None else _by_simd(pixels, box, side)


def _by_pillow(pixels: Pixels, box: Box, side: int) -> Pixels:
    return np.asarray(Image.fromarray(pixels).resize((side, side), Image.Resampling.BILINEAR, box))


def _by_simd(pixels: Pixels, box: Box, side: int) -> Pixels:
    pixels, (left, top, right, bottom) = _within_reach(pixels, box, side)
    height, width, _ = pixels.shape
    source = simd.ImageData(width, height, simd.PixelType.U8x3, pixels.tobytes())
    target = simd.ImageData(side, side, simd.PixelType.U8x3)
    crop = simd.CropBox(left, top, right - left, bottom - top)
    options = simd.ResizeOptions(resize_alg=_BILINEAR, use_alpha=False, crop_box=crop)
    simd.Resizer().resize(source, target, options)
    return np.frombuffer(target.get_buffer(), np.uint8).reshape(side, side, 3)


def _within_reach(pixels: Pixels, box: Box, side: int) -> tuple[Pixels, Box]:
    """Return the part of an image that the filter sees, and the box in it: the resizer copies all that it is given."""
    height, width, _ = pixels.shape
    left, top, right, bottom = box
    reach = math.ceil(max(right - left, bottom - top, side) / side) + 1
    first_row, first_column = max(0, int(top) - reach), max(0, int(left) - reach)
    part = pixels[first_row : min(height, int(bottom) + reach + 1), first_column : min(width, int(right) + reach + 1)]
    return part, (left - first_column, top - first_row, right - first_column, bottom - first_row)
