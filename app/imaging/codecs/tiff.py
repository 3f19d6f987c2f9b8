"""TIFF: what its tags make of it, where Pillow has no bound or shows something else than the file says."""

import struct
from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin

from app.errors import UndecodableImage, UnsupportedImage
from app.imaging.bounds import LAYERS, check_memory, check_pixels, too_much_work

BYTES: Final = 16
"""That a pixel takes for a moment, measured: in the file up to 8, and as many again in its copies."""
_MOST_STRIPS: Final = 65_536  # one a row for any file that is decoded
_MOST_TAGS: Final = 2_000
_VALUE_BYTES: Final = dict(enumerate((0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4, 0, 0, 8, 8, 8)))
"""How long a value is by the number of its type (TIFF 6.0, page 15, and BigTIFF)."""
_TILED: Final = 2**22  # pixels that tiles of any image may have: those of a thin one are not thin
_SEPARATE: Final = 2
_UNSIGNED, _SIGNED = 1, 2
_WHITE_IS_ZERO: Final = 0

# Pillow's own reader of unpacked files takes separate planes of 16 bits, or with their bits the other way round, for 8
# bits: noise. That of libtiff, which it uses for all others, reads them.
TiffImagePlugin.READ_LIBTIFF = True


class _Entry(NamedTuple):
    """A tag of the directory: how many values it has, in how many bytes, and where these are."""

    tag: int
    values: int
    size: int
    at: int


def check_tags(raw: bytes) -> None:
    """Raise `UndecodableImage` for very many parts, and for tags that have the same bytes again and again.

    Pillow makes an object of each part as soon as it opens a file, and libtiff copies the values of each tag.
    """
    entries = list(_entries(raw))
    copied = sum(entry.size for entry in entries if entry.at + entry.size <= len(raw))
    if _parts(entries) > _MOST_STRIPS or copied > len(raw):
        raise too_much_work()


def check_work(image: Image.Image, raw: bytes, max_pixels: int, large: bool) -> None:
    """Refuse tiles that are vast or far more than the image, and strips that lie on one another."""
    wide, high = (int(tag(image, name, 0)) for name in (TiffImagePlugin.TILEWIDTH, TiffImagePlugin.TILELENGTH))
    width, stored = (int(tag(image, name, 0)) for name in (TiffImagePlugin.IMAGEWIDTH, TiffImagePlugin.IMAGELENGTH))
    if wide and high:
        check_pixels(wide, high, max_pixels)
        separate = tag(image, TiffImagePlugin.PLANAR_CONFIGURATION, 1) == _SEPARATE
        planes = int(tag(image, TiffImagePlugin.SAMPLESPERPIXEL, 1)) if separate else 1
        painted = -(-width // wide) * -(-stored // high) * planes * wide * high
        if painted > LAYERS * width * stored + _TILED:
            raise too_much_work()
        check_memory(wide * high * BYTES, large)
        return
    rows = min(int(tag(image, TiffImagePlugin.ROWSPERSTRIP, stored)), stored)
    if _parts(_entries(raw)) * rows > LAYERS * stored:
        raise too_much_work()


def check_range(image: Image.Image) -> None:
    """Raise `UnsupportedImage` for signed pixels of 8 bits, which Pillow shows as unsigned ones."""
    if image.mode == "L" and _is_signed(image):
        raise _no_fixed_range()


def tag(image: Image.Image, number: int, default: Any) -> Any:
    """Return a tag's value; the default where there is none, or no TIFF."""
    return image.tag_v2.get(number, default) if isinstance(image, TiffImagePlugin.TiffImageFile) else default


def mend_palette(image: Image.Image) -> None:
    """Take the colours of a loaded TIFF for 8 bits if none has more, as old programs wrote them, and not for 16.

    Of 16 bits Pillow takes the upper 8, and so all would be black. Raises `UndecodableImage` if a colour lacks a value:
    reds, greens and blues lie one after the other, so that nearly all colours would be wrong.
    """
    if image.mode not in ("P", "PA"):
        return
    colours = list(tag(image, TiffImagePlugin.COLORMAP, ()))  # which are bytes if their type is BYTE
    if len(colours) % 3:
        raise UndecodableImage(f"the palette has {len(colours)} values, which is not three for each colour")
    if colours and max(colours) <= 0xFF:
        image.putpalette(np.reshape(colours, (3, -1)).astype(np.uint8).T.tobytes())


def eight_bits(image: Image.Image) -> NDArray[np.uint8]:
    """Scale integer grey of 12, 16 or 32 bits to 8, black still black and white white.

    Signed integers of 32 bits hold 16, as Pillow writes them. Raises `UnsupportedImage` for other signed ones.
    """
    values: NDArray[Any] = np.asarray(image)
    bits = tag(image, TiffImagePlugin.BITSPERSAMPLE, (16,))[0]
    if _is_signed(image):
        if bits != 32 or values.min() < 0 or values.max() > 0xFFFF:
            raise _no_fixed_range()
        bits = 16
    elif bits == 32:
        values = values.view(np.uint32)
    found: NDArray[np.uint8] = (values >> (bits - 8)).astype(np.uint8)
    inverted = bits == 16 and tag(image, TiffImagePlugin.PHOTOMETRIC_INTERPRETATION, None) == _WHITE_IS_ZERO
    return ~found if inverted else found


def _is_signed(image: Image.Image) -> bool:
    return bool(tag(image, TiffImagePlugin.SAMPLEFORMAT, (_UNSIGNED,))[0] == _SIGNED)


def _no_fixed_range() -> UnsupportedImage:
    return UnsupportedImage("signed pixels have no fixed range; save the image with 8 or 16 unsigned bits")


def _entries(raw: bytes) -> Iterator[_Entry]:
    """Yield the tags of the first page of a TIFF or BigTIFF."""
    order = "<" if raw[:2] == b"II" else ">"
    big = 43 in raw[2:4]
    start, number, layout, inside = ("8xQ", "Q", "HHQQ", 8) if big else ("4xL", "H", "HHLL", 4)
    (at,) = struct.unpack_from(order + start, raw)
    (count,) = struct.unpack_from(order + number, raw, at)
    length = struct.calcsize(order + layout)
    first = at + struct.calcsize(order + number)
    for place in range(first, first + length * min(count, _MOST_TAGS), length):
        name, kind, values, value = struct.unpack_from(order + layout, raw, place)
        size = values * _VALUE_BYTES.get(kind, 0)
        yield _Entry(name, values, size, value if size > inside else place)


def _parts(entries: Iterable[_Entry]) -> int:
    """How many strips or tiles a page has."""
    offsets = (TiffImagePlugin.STRIPOFFSETS, TiffImagePlugin.TILEOFFSETS)
    return max((entry.values for entry in entries if entry.tag in offsets), default=0)
