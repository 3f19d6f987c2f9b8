"""BMP: the profile of its colours, and pictures in run lengths, as old screenshots are."""

import struct
from typing import Final, NamedTuple

import numpy as np
from PIL import Image

from app.imaging.bounds import check_memory, check_pixels
from app.imaging.codecs import runs

_FILE_HEADER: Final = 14  # bytes
_VERSION_5: Final = 124  # bytes of the header behind that
_EMBEDDED: Final = b"DEBM"  # "MBED", as it is stored
_PACKINGS: Final = {(1, 8), (2, 4)}  # and the bits of a pixel


class _Header(NamedTuple):
    start: int
    size: int
    width: int
    height: int
    bits: int
    packing: int
    colours: int


def unpacked(raw: bytes, max_pixels: int, large: bool) -> Image.Image | None:
    """Return the picture of a BMP of run lengths, mode P; None for any other BMP.

    Raises `TooManyPixels` or `LargeImage` before memory is taken, and `ValueError` if it was cut off: a picture that
    ends early is in its first colour from there on.
    """
    header = _header(raw)
    if header is None:
        return None
    width, height = header.width, abs(header.height)
    check_pixels(width, height, max_pixels)
    check_memory(width * height * runs.BYTES, large)
    pixels = runs.unpacked(np.frombuffer(raw, np.uint8)[header.start :], width, height, header.bits)
    image = Image.fromarray(pixels if header.height < 0 else pixels[::-1], "P")
    palette = _FILE_HEADER + header.size
    image.putpalette(raw[palette : palette + 4 * header.colours], "BGRX")
    image.info["icc_profile"] = profile(raw)
    return image


def profile(raw: bytes) -> bytes | None:
    """Return the ICC profile in any BMP, which one with a header of version 5 may have."""
    if len(raw) < _FILE_HEADER + _VERSION_5 or int.from_bytes(raw[14:18], "little") != _VERSION_5:
        return None
    colours, at, size = struct.unpack_from("<4s52xII", raw, _FILE_HEADER + 56)
    start = _FILE_HEADER + at
    return raw[start : start + size] if colours == _EMBEDDED else None


def without_empty_alpha(image: Image.Image) -> Image.Image:
    """Return a loaded BMP in RGB if its alpha is 0 everywhere: what Windows draws leaves that byte empty."""
    empty = image.format == "BMP" and image.mode == "RGBA" and image.getchannel("A").getextrema() == (0, 0)
    return image.convert("RGB") if empty else image


def _header(raw: bytes) -> _Header | None:
    if len(raw) < 54:
        return None
    start, size, width, height, bits, packing, colours = struct.unpack_from("<IIiixxHI12xI", raw, 10)
    known = size >= 40 and (packing, bits) in _PACKINGS and width > 0 and height != 0
    return _Header(start, size, width, height, bits, packing, min(colours or 1 << bits, 256)) if known else None
