"""The segments of a JPEG, found by walking from marker to marker (ITU-T T.81, B.1), before anything is decoded.

Markers are never searched for: the same two bytes occur in a thumbnail, in a profile and in a film behind the photo.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from app.imaging.bounds import too_much_work

Segment = tuple[int, int, int]
"""The code of a marker, where it stands, and where its segment ends; two bytes of length follow the marker."""

BASELINE: Final = 0xC0
END: Final = 0xD9
SCAN: Final = 0xDA
_MARKER: Final = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_MARK: Final = 0xFF
_NO_MARKERS: Final = frozenset((0x00, *range(0xD0, 0xD8), _MARK))  # pixel data, restarts within it, and fill bytes
_ALONE: Final = frozenset((0x01, 0xD8, END))  # markers without a segment
_FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # those are tables, and one that nobody uses
_PROGRESSIVE: Final = frozenset((0xC2, 0xC6, 0xCA, 0xCE))
_JFIF, _EXIF_OR_XMP, _PROFILE, _ADOBE = 0xE0, 0xE1, 0xE2, 0xEE
_KEPT: Final = _FRAMES | {0xC4, 0xCC, 0xDB, 0xDD, _JFIF, _ADOBE}
_EXIF: Final = b"Exif\0\0"
_XMP: Final = b"http://ns.adobe.com/xap/1.0/\0"
_ICC: Final = b"ICC_PROFILE\0"
_DATA: Final = 4  # bytes from a marker to what its segment holds
_MOST_STEPS: Final = 5_000  # segments, and bytes between them: photos have some dozens, and no such bytes
_MOST_EXIF: Final = 64  # segments, which Pillow joins
_BLOCK: Final = 8  # pixels, each way, of one DCT
_BLOCK_BYTES: Final = 128  # of its coefficients


@dataclass(slots=True)
class Header:
    """What stands before the first scan, which starts at `scan`.

    `samplings` has a byte for each component: how often it is sampled across (the high half) and down. `buffered` says
    that no pixel is known before all scans were read. `kept` are the segments that matter to the picture.
    """

    width: int = 0
    height: int = 0
    frame: int = 0
    samplings: bytes = b""
    scan: int = 0
    buffered: bool = False
    xmp: bool = False
    exif: list[Segment] = field(default_factory=list)
    kept: list[Segment] = field(default_factory=list)
    profile_parts: list[bytes] = field(default_factory=list)

    @property
    def profile(self) -> bytes | None:
        """The ICC profile: its parts begin with their number and how many they are; None if some are missing."""
        parts = self.profile_parts
        if not parts or parts[0][1:2] != bytes((len(parts) & 255,)):
            return None
        return b"".join(part[2:] for part in sorted(parts))

    @property
    def coefficients(self) -> int:
        """How many bytes libjpeg holds until the last scan: two for each coefficient of a `buffered` picture."""
        if not self.buffered:
            return 0
        factors: list[tuple[int, int]] = [(one >> 4 or 1, one & 15 or 1) for one in self.samplings]
        widest, highest = (max(each) for each in zip(*factors, strict=True))
        columns = (-(-self.width * across // (_BLOCK * widest)) for across, _ in factors)
        rows = (-(-self.height * down // (_BLOCK * highest)) for _, down in factors)
        blocks: int = sum(wide * high for wide, high in zip(columns, rows, strict=True))
        return _BLOCK_BYTES * blocks


def header(raw: bytes) -> Header:
    """Read up to the first scan. Raises `ValueError` without one, `UndecodableImage` for endless segments before it."""
    head = Header()
    for segment in segments(raw):
        code, marker, end = segment
        if code in _KEPT:
            head.kept.append(segment)
            if code in _FRAMES:
                _note_frame(head, raw, segment)
        elif code == SCAN:
            head.scan = marker
            break
        elif code == _EXIF_OR_XMP:
            _note_metadata(head, raw, segment)
        elif code == _PROFILE and raw.startswith(_ICC, marker + _DATA):
            head.profile_parts.append(raw[marker + _DATA + len(_ICC) : end])
    if not head.scan or not head.samplings:
        raise ValueError("no scan, or none of a known frame")
    head.buffered = head.frame in _PROGRESSIVE or raw[head.scan + _DATA] < len(head.samplings)
    return head


def segments(raw: bytes) -> Iterator[Segment]:
    """Yield the segments of a JPEG up to its end, without looking into any: what is behind that is not of it.

    Raises `UndecodableImage` where they, or bytes that belong to none, are far more than a photo has.
    """
    at, steps, scanned, size = 2, 0, False, len(raw)
    while at + 1 < size:
        marker, code = at, raw[at + 1]
        if raw[at] != _MARK or code in _NO_MARKERS:
            found = _MARKER.search(raw, at)
            if found is None:
                return
            marker, code = found.start(), raw[found.start() + 1]
        steps += 1 if scanned else 1 + marker - at
        if steps > _MOST_STEPS:
            raise too_much_work()
        at = marker + 2
        if code not in _ALONE:
            at += max(int.from_bytes(raw[at : at + 2], "big"), 2)
            yield code, marker, at
            scanned |= code == SCAN
        elif code == END:
            yield code, marker, at
            return


def plain(raw: bytes, head: Header) -> bytes:
    """Return the file with nothing before its first scan but what makes the picture and tells how it lies."""
    kept = sorted((marker, end) for _, marker, end in (*head.kept, *head.exif))
    return b"".join([raw[:2], *(raw[marker:end] for marker, end in kept), raw[head.scan :]])


def _note_frame(head: Header, raw: bytes, segment: Segment) -> None:
    head.frame, marker, end = segment
    head.height = int.from_bytes(raw[marker + 5 : marker + 7], "big")
    head.width = int.from_bytes(raw[marker + 7 : marker + 9], "big")
    head.samplings = raw[marker + 11 : end : 3]


def _note_metadata(head: Header, raw: bytes, segment: Segment) -> None:
    start = segment[1] + _DATA
    if raw.startswith(_EXIF, start):
        head.exif.append(segment)
        if len(head.exif) > _MOST_EXIF:
            raise too_much_work()
    elif raw.startswith(_XMP, start):
        head.xmp = True
        head.kept.append(segment)
