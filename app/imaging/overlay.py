"""Evidence drawn over an image: orange where it speaks for a class, blue where it speaks against it.

These two colours stay apart for people who see no difference between red and green. What says little is left as it is,
in grey, so that the colours are not lost among those of the photo.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from app.imaging.resize import Box, Pixels

_FOR: Final = (230, 120, 0)
_AGAINST: Final = (0, 100, 220)
_GREY: Final = (0.299, 0.587, 0.114)  # what the eye sees of red, green and blue (ITU-R BT.601)
_STRENGTH: Final = 0.7  # how much of a pixel the strongest evidence covers


def overlay(pixels: Pixels, evidence: NDArray[np.float32], box: Box) -> Pixels:
    """Return an image `[h, w, 3]` with the evidence `[rows, columns]` drawn over it, in grey.

    The evidence lies in this box of the image; outside of it nothing is known. It is smoothed between its places, and
    the strongest, for or against, gets the full colour.
    """
    grey = np.repeat((pixels @ np.array(_GREY, np.float32))[..., None], 3, axis=2)
    left, top, right, bottom = (round(edge) for edge in box)
    right, bottom = max(right, left + 1), max(bottom, top + 1)  # of the thinnest image a pixel
    grid = Image.fromarray(evidence / max(float(np.abs(evidence).max()), 1e-9))
    smooth = np.asarray(grid.resize((right - left, bottom - top), Image.Resampling.BICUBIC))[..., None].clip(-1, 1)
    colours = np.where(smooth > 0, np.array(_FOR, np.float32), np.array(_AGAINST, np.float32))
    share = _STRENGTH * np.abs(smooth)
    part = grey[top:bottom, left:right]
    grey[top:bottom, left:right] = (1 - share) * part + share * colours
    return grey.round().astype(np.uint8)
