"""TIFF: what its tags make of it, where Pillow has no bound or shows something else than the file says."""

import struct
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin

from app.errors import UnsupportedImage
from app.imaging.bounds import LAYERS, check_pixels, too_much_work

_MOST_STRIPS: Final = 65_536  # one a row for any file that is decoded
_MOST_TAGS: Final = 2_000
_UNSIGNED, _SIGNED = 1, 2
_WHITE_IS_ZERO: Final = 0

# Pillow's own reader of unpacked files takes separate planes of 16 bits, or with their bits the other way round, for 8
# bits: noise. That of libtiff, which it uses for all others, reads them.
TiffImagePlugin.READ_LIBTIFF = True


def check_strips(raw: bytes) -> None:
    """Raise `UndecodableImage` for a file of very many parts: Pillow makes an object of each at once."""
    if _strips(raw) > _MOST_STRIPS:
        raise too_much_work()


def check_work(image: Image.Image, raw: bytes, max_pixels: int) -> None:
    """Refuse tiles that are vast, and strips that lie on one another."""
    width, height = (int(tag(image, name, 0)) for name in (TiffImagePlugin.TILEWIDTH, TiffImagePlugin.TILELENGTH))
    check_pixels(width, height, max_pixels)
    stored = int(tag(image, TiffImagePlugin.IMAGELENGTH, 0))  # what Pillow calls the height is that of it upright
    rows = min(int(tag(image, TiffImagePlugin.ROWSPERSTRIP, stored)), stored)
    if not width and _strips(raw) * rows > LAYERS * stored:
        raise too_much_work()


def tag(image: Image.Image, number: int, default: Any) -> Any:
    """Return a tag's value; the default where there is none, or no TIFF."""
    return image.tag_v2.get(number, default) if isinstance(image, TiffImagePlugin.TiffImageFile) else default


def eight_bits(image: Image.Image) -> NDArray[np.uint8]:
    """Scale integer grey of 12, 16 or 32 bits to 8, black still black and white white.

    Signed integers of 32 bits hold 16, as Pillow writes them. Raises `UnsupportedImage` for other signed ones.
    """
    values: NDArray[Any] = np.asarray(image)
    bits = tag(image, TiffImagePlugin.BITSPERSAMPLE, (16,))[0]
    if tag(image, TiffImagePlugin.SAMPLEFORMAT, (_UNSIGNED,))[0] == _SIGNED:
        if bits != 32 or values.min() < 0 or values.max() > 0xFFFF:
            raise UnsupportedImage("signed pixels have no fixed range; save the image with 8 or 16 unsigned bits")
        bits = 16
    elif bits == 32:
        values = values.view(np.uint32)
    found: NDArray[np.uint8] = (values >> (bits - 8)).astype(np.uint8)
    inverted = bits == 16 and tag(image, TiffImagePlugin.PHOTOMETRIC_INTERPRETATION, None) == _WHITE_IS_ZERO
    return ~found if inverted else found


def _strips(raw: bytes) -> int:
    """How many strips or tiles the first page has, by the tags themselves, of TIFF or BigTIFF."""
    order = "<" if raw[:2] == b"II" else ">"
    big = 43 in raw[2:4]
    start, number, entry, length = ("8xQ", "Q", "HHQ", 20) if big else ("4xL", "H", "HHL", 12)
    (at,) = struct.unpack_from(order + start, raw)
    (count,) = struct.unpack_from(order + number, raw, at)
    first = at + struct.calcsize(order + number)
    places = range(first, first + length * min(count, _MOST_TAGS), length)
    entries = (struct.unpack_from(order + entry, raw, place) for place in places)
    offsets = (TiffImagePlugin.STRIPOFFSETS, TiffImagePlugin.TILEOFFSETS)
    return max((values for number, _, values in entries if number in offsets), default=0)
