"""Bytes of an image -> uint8 pixels `[r, r, 3]`: the only place that decodes; safe in many threads at once."""

import ctypes
import logging
import math
import struct
import warnings
from collections.abc import Sequence
from contextlib import closing
from io import BytesIO
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile, TiffImagePlugin, WebPImagePlugin, _imaging  # noqa: F401 (registers)
from PIL.Image import Transpose as Turn

from app.errors import EmptyImage, ServiceError, TooManyPixels, UndecodableImage, UnsupportedImage
from app.imaging import jpeg
from app.imaging.resize import Box, Pixels, scaled

FORMATS: Final = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")

_CENTRAL: Final = 0.875  # of the shorter side, as the published weights were evaluated
_MARGIN: Final = 2  # a JPEG is scaled while it is decoded to no less than twice the pixels needed: 1x costs top-1
_MAX_SCANS: Final = 100  # of a progressive JPEG; encoders write about ten, and 42 bytes a scan can cost 15 ms
_M_TRIM_THRESHOLD: Final = -1  # of glibc's malloc.h, as the next two
_M_TOP_PAD: Final = -2
_M_MMAP_THRESHOLD: Final = -3
_MAX_HEADER_READS: Final = 2_000  # a segment of a JPEG takes four, and photos have some dozens
_MAX_REPEATS: Final = {b"Exif\0\0": 64, b"8BIM": 1_000}  # in a JPEG: Pillow joins the one, and parses the other
_MAX_READS: Final = 500_000  # a byte each for run-length BMP, which Pillow decodes in Python
_MAX_STRIPS: Final = 65_536  # of a TIFF; one a row for any file that is decoded
_LARGE: Final = 12_000_000  # pixels in memory; a kind of file with four copies of them takes 190 MB for a moment
_MAX_LAYERS: Final = 8  # times that a file may paint its own area; separate TIFF planes need up to 6
_LOOKS: Final = ((0, b"%PDF", "PDF"), (0, b"<", "SVG, HTML or XML"), (4, b"ftypavif", "AVIF"), (4, b"ftyp", "HEIC"))
_TURNS: Final = {
    2: Turn.FLIP_LEFT_RIGHT,
    3: Turn.ROTATE_180,
    4: Turn.FLIP_TOP_BOTTOM,
    5: Turn.TRANSPOSE,
    6: Turn.ROTATE_270,
    7: Turn.TRANSVERSE,
    8: Turn.ROTATE_90,
}

# What most images take is kept for the next one: taken anew, it is a page fault for every 4 KiB, which cost half of the
# time of decoding. What a very large one had goes back at once.
if mallopt := getattr(ctypes.CDLL(None), "mallopt", None):
    for parameter, mib in ((_M_TRIM_THRESHOLD, 16), (_M_TOP_PAD, 1), (_M_MMAP_THRESHOLD, 4)):
        mallopt(parameter, mib * 1024 * 1024)

Image.preinit()  # BMP, GIF, JPEG and PNG; with the two imported above a request has nothing left to load
Image.MAX_IMAGE_PIXELS = None  # Pillow's own limit would answer before `max_pixels` does
warnings.filterwarnings("ignore", module=r"PIL\.")  # here and not in a call: `catch_warnings` is not thread-safe
logging.getLogger("PIL").setLevel(logging.CRITICAL)  # it logs what is wrong with callers' files
# libtiff prints it, to the standard error of the process; the one that Pillow brings is told not to.
if silence_libtiff := getattr(ctypes.CDLL(_imaging.__file__), "TIFFSetErrorHandler", None):
    silence_libtiff(None)


class LargeImage(Exception):
    """The image has more than 12 million pixels, and takes the memory that the caller has for one such image."""


class _Metered(BytesIO):
    """A file of which only so many reads may be made: what Pillow does in Python, it does between reads."""

    left = _MAX_HEADER_READS

    def read(self, size: int | None = -1, /) -> bytes:
        self.left -= 1
        if self.left < 0:
            raise _too_much_work()
        return super().read(size)


def decode(data: bytes | memoryview, *, resolution: int, max_pixels: int, large: bool = True) -> NDArray[np.uint8]:
    """Return the central square of an image as RGB `[resolution, resolution, 3]`, upright, C-contiguous.

    The square is 87.5 % of the shorter side, scaled by Pillow's antialiasing BILINEAR; transparency lies on white; of
    several frames or pages the first counts. Raises `EmptyImage`, `UnsupportedImage` (none of `FORMATS`, or
    floating-point), `TooManyPixels` (by the header, before memory is taken) or `UndecodableImage`; without `large` also
    `LargeImage`, before memory is taken.
    """
    return decode_each(data, resolutions=(resolution,), max_pixels=max_pixels, large=large)[0]


def decode_each(
    data: bytes | memoryview, *, resolutions: Sequence[int], max_pixels: int, large: bool = True
) -> list[Pixels]:
    """Return what `decode` returns for each of the resolutions, to the pixel, decoding once.

    Only a JPEG that is large enough to be scaled while it is decoded, to different sizes for different resolutions, is
    decoded once for each of these sizes.
    """
    if not data:
        raise EmptyImage("the image is empty: it has 0 bytes")
    raw = bytes(data)  # bytes stay as they are, a memoryview is copied once
    kind = kind_of(raw[:16])
    found: dict[int, Pixels] = {}
    while left := [resolution for resolution in resolutions if resolution not in found]:
        found |= _squares(raw, kind, left, max_pixels, large)
    return [found[resolution] for resolution in resolutions]


def _squares(raw: bytes, kind: str, resolutions: Sequence[int], max_pixels: int, large: bool) -> dict[int, Pixels]:
    """Decode for the first resolution; return its square and those of the others that need no other decoding."""
    if kind == "JPEG" and (photo := jpeg.read(raw, _needed(resolutions[0]), max_pixels, _LARGE)):
        return _of_photo(photo, [one for one in resolutions if photo.serves(_needed(one))])
    try:
        image = _opened(raw, kind, max_pixels, large)
        box = _central_square(image, _needed(resolutions[0]))
        _check_large(*image.size, large)  # a JPEG may be scaled to less by now
        with closing(image):  # its memory is free before the next one's turn
            others = (one for one in resolutions[1:] if kind != "JPEG" or _jpeg_square(raw, one, max_pixels) == box)
            return _scaled(image, box, [resolutions[0], *others])
    except (ServiceError, LargeImage):
        raise
    except Exception as exc:  # OSError, SyntaxError, struct.error, MemoryError and many more
        raise UndecodableImage(f"the {kind} image is truncated, damaged or of an unusual kind") from exc


def _needed(resolution: int) -> int:
    """How many pixels the shorter side of an image should have."""
    return math.ceil(_MARGIN * resolution / _CENTRAL)


def _of_photo(photo: jpeg.Photo, resolutions: Sequence[int]) -> dict[int, Pixels]:
    box = _square(photo.width, photo.height)
    return {one: _upright(scaled(photo.pixels, box, one), photo.orientation) for one in resolutions}


def _jpeg_square(raw: bytes, resolution: int, max_pixels: int) -> Box:
    with closing(_opened(raw, "JPEG", max_pixels, large=True)) as image:
        return _central_square(image, _needed(resolution))


def kind_of(head: bytes) -> str:
    """Return which of `FORMATS` an image file is of by its first 16 bytes. Raises `UnsupportedImage`."""
    for kind in FORMATS:
        if (accept := Image.OPEN[kind][1]) and accept(head):
            return kind
    looks = next((f"; it looks like {name}" for at, magic, name in _LOOKS if head.startswith(magic, at)), "")
    raise UnsupportedImage(f"the bytes are no {', '.join(FORMATS[:-1])} or {FORMATS[-1]} image{looks}")


def _opened(raw: bytes, kind: str, max_pixels: int, large: bool) -> Image.Image:
    if kind == "WEBP":  # takes its memory as soon as it is opened, the others when they are loaded
        _check_pixels(*_webp_size(raw), max_pixels)
        _check_large(*_webp_size(raw), large)
    if kind == "JPEG" and any(raw.count(name) > most for name, most in _MAX_REPEATS.items()):
        raise _too_much_work()
    if kind == "TIFF" and _strips(raw) > _MAX_STRIPS:
        raise _too_much_work()
    file = _Metered(raw)
    image = Image.open(file, formats=(kind,))
    file.left = _MAX_READS
    _check_pixels(*image.size, max_pixels)
    _check_work(image, raw, max_pixels)
    return image


def _strips(raw: bytes) -> int:
    """How many strips or tiles the first page of a TIFF (or BigTIFF) has: Pillow makes an object of each at once."""
    order = "<" if raw[:2] == b"II" else ">"
    big = 43 in raw[2:4]
    start, number, entry, length = ("8xQ", "Q", "HHQ", 20) if big else ("4xL", "H", "HHL", 12)
    (at,) = struct.unpack_from(order + start, raw)
    (count,) = struct.unpack_from(order + number, raw, at)
    first = at + struct.calcsize(order + number)
    places = range(first, first + length * min(count, _MAX_HEADER_READS), length)
    entries = (struct.unpack_from(order + entry, raw, place) for place in places)
    offsets = (TiffImagePlugin.STRIPOFFSETS, TiffImagePlugin.TILEOFFSETS)
    return max((values for tag, _, values in entries if tag in offsets), default=0)


def _webp_size(raw: bytes) -> tuple[int, int]:
    """Width and height by RFC 9649: Pillow takes memory for the whole canvas as soon as it opens a WebP."""
    if raw[12:16] == b"VP8X":
        return 1 + int.from_bytes(raw[24:27], "little"), 1 + int.from_bytes(raw[27:30], "little")
    if raw[12:16] == b"VP8L":
        bits = int.from_bytes(raw[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    return int.from_bytes(raw[26:28], "little") & 0x3FFF, int.from_bytes(raw[28:30], "little") & 0x3FFF


def _check_pixels(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise TooManyPixels(f"the image has {width:,} × {height:,} pixels, and {max_pixels:,} in all is the most")


def _check_work(image: ImageFile.ImageFile, raw: bytes, max_pixels: int) -> None:
    """Refuse what costs far more than its size says: vast TIFF tiles, strips on one another, endless JPEG scans."""
    width, height = (_tiff_tag(image, tag, 0) for tag in (TiffImagePlugin.TILEWIDTH, TiffImagePlugin.TILELENGTH))
    _check_pixels(int(width), int(height), max_pixels)
    boxes = (tile.extents or (0, 0, 0, 0) for tile in image.tile)
    painted = sum((right - left) * (bottom - top) for left, top, right, bottom in boxes)
    scans = raw.count(b"\xff\xda") if "progressive" in image.info else 1
    if painted > _MAX_LAYERS * math.prod(image.size) or scans > _MAX_SCANS:
        raise _too_much_work()


def _too_much_work() -> UndecodableImage:
    return UndecodableImage("the image is built to take far more work than its size says")


def _check_large(width: int, height: int, large: bool) -> None:
    if not large and width * height > _LARGE:
        raise LargeImage


def _tiff_tag(image: Image.Image, tag: int, default: Any) -> Any:
    return image.tag_v2.get(tag, default) if isinstance(image, TiffImagePlugin.TiffImageFile) else default


def _scaled(image: Image.Image, box: Box, resolutions: Sequence[int]) -> dict[int, Pixels]:
    image.load()
    source = _averageable(image)
    turn = _turn(image)  # a central square may be turned after the scaling as well as before, and cheaper
    return {resolution: _turned(source, box, resolution, turn) for resolution in resolutions}


def _turned(source: Image.Image, box: Box, resolution: int, turn: Turn | None) -> Pixels:
    small = source.resize((resolution, resolution), Image.Resampling.BILINEAR, box)
    return np.asarray(_converted(small if turn is None else small.transpose(turn), "RGB"))


def _upright(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    turn = _TURNS.get(orientation)
    return pixels if turn is None else np.asarray(Image.fromarray(pixels).transpose(turn))


def _central_square(image: Image.Image, needed: int) -> Box:
    """Let a large JPEG scale itself in its DCT, and return the box of the square in the pixels it will have."""
    draft = image.draft(None, (needed, needed))
    return _square(*(draft[1][2:] if draft else image.size))


def _square(width: float, height: float) -> Box:
    side = _CENTRAL * min(width, height)
    return (width - side) / 2, (height - side) / 2, (width + side) / 2, (height + side) / 2


def _averageable(image: Image.Image) -> Image.Image:
    """Convert to L or RGB, whose pixels may be averaged: palette indices and inks may not."""
    if image.mode == "F":
        raise UnsupportedImage("floating-point pixels have no fixed range; save the image with 8 or 16 bits")
    if image.mode.startswith("I"):
        image = _high_byte(image)
    if image.has_transparency_data:  # on white before the scaling: cheaper than scaling alpha too, and rounded once
        image = _converted(_converted(image, "LA") if image.mode == "La" else image, "RGBA")
        white = Image.new("RGB", image.size, "white")
        white.paste(image, mask=image)
        return white
    return image if image.mode == "L" else _converted(image, "RGB")


def _converted(image: Image.Image, mode: str) -> Image.Image:
    return image if image.mode == mode else image.convert(mode)  # to the same mode `convert` would copy


def _high_byte(image: Image.Image) -> Image.Image:
    """Scale 16-bit grey (12-bit too; 32-bit integers hold 16) to L or LA, which Pillow's `convert` would clip."""
    values = np.asarray(image)
    depth = min(_tiff_tag(image, TiffImagePlugin.BITSPERSAMPLE, (16,))[0], 16)
    grey = Image.fromarray((np.clip(values, 0, 0xFFFF) >> (depth - 8)).astype(np.uint8))
    if (key := image.info.get("transparency")) is not None:
        grey.putalpha(Image.fromarray(np.where(values == key, 0, 255).astype(np.uint8)))
    return grey


def _turn(image: Image.Image) -> Turn | None:
    try:  # TIFF has none left here: Pillow turned it while loading
        return _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # damaged EXIF is no reason to refuse good pixels
        return None
