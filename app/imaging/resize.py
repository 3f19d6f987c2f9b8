"""A box of an image, scaled as Pillow's antialiasing BILINEAR does: in SIMD where there is a build, else by Pillow.

The two round differently in places: by 1 of 255, and by no more.
"""

from typing import Any

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


def scaled(pixels: Pixels, box: Box, side: int) -> Pixels:
    """Return the box of an RGB image `[h, w, 3]` as `[side, side, 3]`."""
    return _by_pillow(pixels, box, side) if simd is None else _by_simd(pixels, box, side)


def _by_pillow(pixels: Pixels, box: Box, side: int) -> Pixels:
    return np.asarray(Image.fromarray(pixels).resize((side, side), Image.Resampling.BILINEAR, box))


def _by_simd(pixels: Pixels, box: Box, side: int) -> Pixels:
    height, width, _ = pixels.shape
    left, top, right, bottom = box
    source = simd.ImageData(width, height, simd.PixelType.U8x3, pixels.tobytes())
    target = simd.ImageData(side, side, simd.PixelType.U8x3)
    simd.Resizer().resize(source, target, _options(simd.CropBox(left, top, right - left, bottom - top)))
    return np.frombuffer(target.get_buffer(), np.uint8).reshape(side, side, 3)


def _options(box: Any) -> Any:
    bilinear = simd.ResizeAlg.convolution(simd.FilterType.bilinear)
    return simd.ResizeOptions(resize_alg=bilinear, use_alpha=False, crop_box=box)
