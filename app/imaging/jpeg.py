"""JPEG: its segments, what decoding it costs, and baseline photos by libjpeg-turbo straight into an array.

Baseline in colour or grey, as cameras write it, takes half of the time that Pillow takes for the same pixels. What is
odd about a file is left to Pillow, which says what is wrong with it, if it is.
"""

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import ExifTags, Image

from app.errors import TooManyPixels
from app.imaging.bounds import BYTES, CODED, SCANS, check_memory, check_pixels, too_much_work

_MARKER: Final = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")  # the others are pixel data, restarts in it, and fill bytes
_START, _END, _SCAN, _EXIF_OR_XMP, _PROFILE, _ADOBE, _JFIF = 0xD8, 0xD9, 0xDA, 0xE1, 0xE2, 0xEE, 0xE0
_ALONE: Final = frozenset((0x01, _START, _END))  # markers without a segment
_TABLES: Final = frozenset((0xC4, 0xCC, 0xDB, 0xDD))
_FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # those are tables, and one that nobody uses
_BASELINE: Final = 0xC0
_PROGRESSIVE: Final = frozenset((0xC2, 0xC6, 0xCA, 0xCE))
_KEPT: Final = _TABLES | _FRAMES | {_JFIF, _ADOBE}
_EXIF: Final = b"Exif\0\0"
_XMP: Final = b"http://ns.adobe.com/xap/1.0/\0"
_ICC: Final = b"ICC_PROFILE\0"
_MOST_STEPS: Final = 5_000  # segments, and bytes between them: photos have some dozens, and no such bytes
_MOST_EXIF: Final = 64  # segments, which are one after the other
_COLOURS: Final = ("YCbCr", "Gray")
_DECODED_BYTES: Final = 12  # that a decoded pixel takes for a moment, in Pillow
_BLOCK: Final = 8  # pixels, each way, of one DCT
_BLOCK_BYTES: Final = 128


class Segment(NamedTuple):
    """A marker's code, where the marker is, and where what it holds starts and ends."""

    code: int
    marker: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Header:
    """What stands before the first scan, which starts at `scan`.

    `samplings` are the horizontal and vertical factors of each component, `buffered` says that pixels can be made only
    when all scans were read, and `kept` which segments matter to the picture.
    """

    width: int
    height: int
    frame: int
    samplings: tuple[tuple[int, int], ...]
    exif: tuple[Segment, ...]
    xmp: bool
    profile: bytes | None
    kept: tuple[Segment, ...]
    scan: int
    buffered: bool

    def scale(self, needed: int) -> int:
        """By how much it may be scaled to no less than `needed` pixels on its shorter side: 1, 2, 4 or 8 times."""
        return _scale(min(self.width, self.height), needed)

    @property
    def coefficients(self) -> int:
        """How many bytes libjpeg holds all along: 2 for each coefficient, where there are several scans."""
        if not self.buffered:
            return 0
        widest, highest = (max(factors) for factors in zip(*self.samplings, strict=True))
        blocks: Iterator[int] = (
            -(-self.width * across // (_BLOCK * widest)) * -(-self.height * down // (_BLOCK * highest))
            for across, down in self.samplings
        )
        return _BLOCK_BYTES * sum(blocks)


@dataclass(frozen=True, slots=True)
class Photo:
    """Decoded pixels, uint8 RGB `[h, w, 3]`, the size without rounding up, EXIF orientation 1 to 8, and the profile.

    It is so many times as small as the file's, by `scale`; `grey` says that the file has no colours.
    """

    pixels: NDArray[np.uint8]
    width: float
    height: float
    orientation: int
    scale: int
    profile: bytes | None
    grey: bool

    def serves(self, needed: int) -> bool:
        """Whether `read` would return the same for a shorter side of no less than `needed` pixels."""
        return _scale(min(self.width, self.height) * self.scale, needed) == self.scale


def header(raw: bytes) -> Header:
    """Read up to the first scan. Raises `ValueError` without one, `UndecodableImage` for endless segments before it."""
    frame: Segment | None = None
    exif: list[Segment] = []
    kept: list[Segment] = []
    profile: list[bytes] = []
    xmp = False
    for segment in segments(raw):
        code, _, start, end = segment
        if code == _SCAN:
            break
        if code in _KEPT:
            kept.append(segment)
            frame = segment if code in _FRAMES else frame
        elif code == _EXIF_OR_XMP and raw.startswith(_EXIF, start):
            exif.append(segment)
        elif code == _EXIF_OR_XMP and raw.startswith(_XMP, start):
            xmp = True
            kept.append(segment)
        elif code == _PROFILE and raw.startswith(_ICC, start):
            profile.append(raw[start + len(_ICC) : end])
    else:
        raise ValueError("no scan")
    if frame is None:
        raise ValueError("a scan without a frame")
    if len(exif) > _MOST_EXIF:
        raise too_much_work()
    height, width = (int.from_bytes(raw[frame.start + at : frame.start + at + 2], "big") for at in (1, 3))
    samplings = tuple((one >> 4 or 1, one & 15 or 1) for one in raw[frame.start + 7 : frame.end : 3])
    buffered = frame.code in _PROGRESSIVE or raw[segment.start] < len(samplings)
    return Header(
        width, height, frame.code, samplings, tuple(exif), xmp, _joined(profile), tuple(kept), segment.marker, buffered
    )


def segments(raw: bytes) -> Iterator[Segment]:
    """Yield the segments of a JPEG up to its end, without looking into any: what is appended to it is not of it.

    Raises `UndecodableImage` where they, or bytes that belong to none, are far more than a photo has.
    """
    at, steps, scanned = 2, 0, False
    while found := _MARKER.search(raw, at):
        marker, code = found.start(), raw[found.end() - 1]
        steps += 1 if scanned else 1 + marker - at
        if steps > _MOST_STEPS:
            raise too_much_work()
        if code == _END:
            yield Segment(code, marker, found.end(), found.end())
            return
        end = found.end()
        if code not in _ALONE:
            end += int.from_bytes(raw[end : end + 2], "big")
            yield Segment(code, marker, found.end() + 2, end)
        scanned |= code == _SCAN
        at = max(end, found.end())


def _joined(parts: list[bytes]) -> bytes | None:
    """Return the ICC profile, whose parts begin with their number and how many they are; None if some are missing."""
    if not parts or parts[0][1:2] != bytes((len(parts) & 255,)):
        return None
    return b"".join(part[2:] for part in sorted(parts))


def check(raw: bytes, head: Header, needed: int, max_pixels: int, large: bool) -> None:
    """Raise `TooManyPixels`, `LargeImage` or `UndecodableImage` for a JPEG that costs too much, before it does.

    Memory goes by the pixels that are left after scaling it to no less than `needed` pixels on its shorter side, and
    time by those in the file.
    """
    pixels = head.width * head.height
    scale = head.scale(needed)
    rows, columns = -(-head.height // scale), -(-head.width // scale)
    check_pixels(head.width, head.height, max_pixels, rows * columns)
    if pixels > CODED * max_pixels or head.coefficients > BYTES * max_pixels:
        most = max_pixels * CODED if pixels > CODED * max_pixels else pixels * max_pixels * BYTES // head.coefficients
        kind = "progressive JPEG" if head.buffered else "JPEG"
        size = f"{head.width:,} × {head.height:,}"
        raise TooManyPixels(f"the image has {size} pixels, and {most:,} in all is the most of such a {kind}")
    if head.buffered:
        scans = sum(segment.code == _SCAN for segment in segments(raw))
        if scans > SCANS or scans * pixels > SCANS * max_pixels:
            raise too_much_work()
    check_memory(rows * columns * _DECODED_BYTES + head.coefficients, large)


def read(raw: bytes, head: Header, needed: int) -> Photo | None:
    """Decode a baseline photo, its shorter side scaled by 1, 1/2, 1/4 or 1/8 to no less than `needed` pixels.

    None for what is no good baseline JPEG in colour or grey, or may be turned by more than one EXIF segment.
    """
    if head.frame != _BASELINE or head.buffered or head.xmp or len(head.exif) > 1:
        return None
    with suppress(Exception):
        height, width, colours, _ = simplejpeg.decode_jpeg_header(raw)
        if colours in _COLOURS and (width, height) == (head.width, head.height):
            scale = _scale(min(height, width), needed)
            pixels = simplejpeg.decode_jpeg(raw, min_height=-(-height // scale), min_width=-(-width // scale))
            orientation = _orientation(raw, *head.exif)
            return Photo(pixels, width / scale, height / scale, orientation, scale, head.profile, colours == "Gray")
    return None


def plain(raw: bytes, head: Header) -> bytes:
    """Return the file with nothing before its first scan but what makes the picture and tells how it lies."""
    kept = sorted((*head.kept, *head.exif), key=lambda segment: segment.marker)
    return b"".join([raw[:2], *(raw[one.marker : one.end] for one in kept), raw[head.scan :]])


def mended(raw: bytes) -> bytes | None:
    """Return a JPEG that lacks its end marker, and not a pixel, with one; None for any other.

    Its costs have been checked: libjpeg decodes it at an eighth, and says whether pixels were missing.
    """
    with suppress(Exception):
        head = header(raw)
        if all(segment.code != _END for segment in segments(raw)):
            whole = raw + bytes((0xFF, _END))
            small = {"min_height": -(-head.height // _BLOCK), "min_width": -(-head.width // _BLOCK)}
            simplejpeg.decode_jpeg(whole, colorspace="CMYK" if len(head.samplings) == 4 else "RGB", **small)
            return whole
    return None


def _scale(side: float, needed: int) -> int:
    return next((scale for scale in (8, 4, 2) if side // needed >= scale), 1)


def _orientation(raw: bytes, exif: Segment | None = None) -> int:
    if exif is None:
        return 1
    found = Image.Exif()
    with suppress(Exception):  # damaged EXIF is no reason to refuse good pixels
        found.load(raw[exif.start : exif.end])
        orientation = found.get(ExifTags.Base.Orientation, 1)
        return orientation if orientation in range(1, 9) else 1
    return 1
