"""JPEG: what decoding one costs, and baseline photos by libjpeg-turbo straight into an array.

Baseline in colour or grey, as cameras write it, takes half of the time that Pillow takes for the same pixels. What is
odd about a file is left to Pillow, which says what is wrong with it, if it is.
"""

from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from app.errors import TooManyPixels
from app.imaging.bounds import BYTES, CODED, SCANS, check_memory, check_pixels, too_much_work
from app.imaging.codecs.markers import BASELINE, END, SCAN, Header, Segment, header, segments
from app.imaging.orientation import UPRIGHT, orientation

_COLOURS: Final = ("YCbCr", "Gray")
_EXIF_START: Final = 4  # bytes from the marker
_DECODED_BYTES: Final = 12  # that a decoded pixel takes for a moment, in Pillow
_SMALLEST: Final = 8  # times that a JPEG can be scaled down while it is decoded


@dataclass(slots=True)
class Photo:
    """Decoded pixels, uint8 RGB `[h, w, 3]`, the size without rounding up, and the EXIF orientation, 1 to 8.

    It is so many times as small as the file's, by `scale`; `grey` says that the file has no colours.
    """

    pixels: NDArray[np.uint8]
    width: float
    height: float
    orientation: int
    scale: int
    grey: bool


def scale(head: Header, needed: int) -> int:
    """Return by how much a JPEG is scaled to no less than `needed` pixels on its shorter side: 1, 2, 4 or 8 times."""
    fits = min(head.width, head.height) // needed
    return 8 if fits >= 8 else 4 if fits >= 4 else 2 if fits >= 2 else 1


def check(raw: bytes, head: Header, needed: int, max_pixels: int, large: bool) -> None:
    """Raise `TooManyPixels`, `LargeImage` or `UndecodableImage` for a JPEG that costs too much, before it does.

    Memory goes by the pixels that are left after scaling it to no less than `needed` pixels on its shorter side, and
    by the coefficients of a progressive one; time goes by the pixels in the file, once for each scan.
    """
    pixels, factor = head.width * head.height, scale(head, needed)
    decoded = -(-head.height // factor) * -(-head.width // factor)
    check_pixels(head.width, head.height, max_pixels, decoded)
    if pixels > CODED * max_pixels or head.coefficients > BYTES * max_pixels:
        raise _too_many_pixels(head, max_pixels)
    if head.buffered:
        scans = sum(code == SCAN for code, _, _ in segments(raw))
        if scans > SCANS or scans * pixels > SCANS * max_pixels:
            raise too_much_work()
    check_memory(decoded * _DECODED_BYTES + head.coefficients, large)


def read(raw: bytes, head: Header, needed: int) -> Photo | None:
    """Decode a baseline photo, its shorter side scaled by 1, 1/2, 1/4 or 1/8 to no less than `needed` pixels.

    None for what is no good baseline JPEG in colour or grey, or may be turned by more than one EXIF segment.
    """
    if head.frame != BASELINE or head.buffered or head.xmp or len(head.exif) > 1:
        return None
    with suppress(Exception):
        height, width, colours, _ = simplejpeg.decode_jpeg_header(raw)
        if colours in _COLOURS and (width, height) == (head.width, head.height):
            factor = scale(head, needed)
            pixels = simplejpeg.decode_jpeg(raw, min_height=-(-height // factor), min_width=-(-width // factor))
            return Photo(pixels, width / factor, height / factor, _orientation(raw, head), factor, colours == "Gray")
    return None


def mended(raw: bytes) -> bytes | None:
    """Return a JPEG that lacks its end marker, and not a pixel, with one; None for any other.

    Its costs have been checked: libjpeg decodes it at an eighth, and says whether pixels were missing.
    """
    with suppress(Exception):
        head = header(raw)
        if all(code != END for code, _, _ in segments(raw)):
            whole = raw + bytes((0xFF, END))
            small = {"min_height": -(-head.height // _SMALLEST), "min_width": -(-head.width // _SMALLEST)}
            simplejpeg.decode_jpeg(whole, colorspace="CMYK" if len(head.samplings) == 4 else "RGB", **small)
            return whole
    return None


def _too_many_pixels(head: Header, max_pixels: int) -> TooManyPixels:
    pixels, kind = head.width * head.height, "progressive JPEG" if head.buffered else "JPEG"
    most = CODED * max_pixels
    if head.coefficients:
        most = min(most, pixels * BYTES * max_pixels // head.coefficients)
    return TooManyPixels(
        f"the image has {head.width:,} × {head.height:,} pixels, and {most:,} in all is the most of such a {kind}"
    )


def _orientation(raw: bytes, head: Header) -> int:
    return orientation(lambda: _exif(raw, head.exif[0])) if head.exif else UPRIGHT


def _exif(raw: bytes, segment: Segment) -> Image.Exif:
    _, marker, end = segment
    found = Image.Exif()
    found.load(raw[marker + _EXIF_START : end])
    return found
