"""Which image formats are read, how each is told by its first bytes, and what other files look like."""

import os
import re
from base64 import urlsafe_b64decode
from contextlib import suppress
from typing import Final

from app.errors import UnsupportedImage

FORMATS: Final = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "HEIC", "AVIF")
SUFFIXES: Final = frozenset(
    f".{ending}"
    for endings in ("jpg jpeg jpe jfif", "png apng", "webp", "gif", "bmp", "tif tiff", "heic heif hif", "avif avifs")
    for ending in endings.split()
)
"""What the names of such files end with, in lower case."""
UNKNOWN: Final = f"this file is not a {', '.join(FORMATS[:-1])} or {FORMATS[-1]} image"
"""The message for an unknown format; for a known one that is not read, its name is added."""
HEAD_BYTES: Final = 256
"""So many bytes of a file tell its format."""
_FINDER: Final = "._"

_MAGICS: Final = (
    ("JPEG", b"\xff\xd8\xff"),
    ("PNG", b"\x89PNG\r\n\x1a\n"),
    ("GIF", b"GIF87a"),
    ("GIF", b"GIF89a"),
    ("BMP", b"BM"),
    ("TIFF", b"II*\0"),
    ("TIFF", b"MM\0*"),
    ("TIFF", b"II+\0"),  # BigTIFF
    ("TIFF", b"MM\0+"),
)
_WEBP_CHUNKS: Final = (b"VP8 ", b"VP8L", b"VP8X")
_MOST_BRANDS: Final = 32
_AVIF_BRANDS: Final = frozenset((b"avif", b"avis"))
_HEIC_BRANDS: Final = frozenset((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"))
_HEIF_BRANDS: Final = frozenset((b"mif1", b"mif2", b"msf1", b"miaf"))
"""Any image in a HEIF container; its other brands, or in the end the image itself, say how it is coded."""

_VIDEOS: Final = {
    b"qt  ": "a QuickTime (MOV) video",
    b"crx ": "a Canon CR3 raw photo",
    b"jp2 ": "JPEG 2000",
    b"jxl ": "JPEG XL",
    b"M4A ": "an M4A sound",
    b"3gp": "a 3GP video",
}
_OTHERS: Final = (  # offset, bytes, what has them there
    (0, b"%PDF", "PDF"),
    (0, b"%!PS", "PostScript"),
    (0, b"\0\0\0\x0cJXL ", "JPEG XL"),
    (0, b"\xff\x0a", "JPEG XL"),
    (0, b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (0, b"\xff\x4f\xff\x51", "JPEG 2000"),
    (0, b"8BPS", "a Photoshop document (PSD)"),
    (0, b"\0\0\1\0", "an icon (ICO)"),
    (0, b"\0\0\2\0\1\0", "a cursor (CUR)"),
    (0, b"qoif", "QOI"),
    (0, b"DDS ", "a DDS texture"),
    (0, b"\x76\x2f\x31\x01", "OpenEXR"),
    (0, b"#?RADIANCE", "Radiance HDR"),
    (0, b"gimp xcf", "a GIMP document (XCF)"),
    (0, b"FUJIFILMCCD-RAW", "a Fujifilm raw photo"),
    (0, b"IIRO", "an Olympus raw photo"),
    (0, b"IIRS", "an Olympus raw photo"),
    (0, b"IIU\0", "a Panasonic raw photo"),
    (0, b"BPG\xfb", "BPG"),
    (0, b"\x1a\x45\xdf\xa3", "a WebM or Matroska video"),
    (8, b"AVI ", "an AVI video"),
    (8, b"WAVE", "a WAV sound"),
    (0, b"PK\3\4", "a ZIP archive"),
    (0, b"\x1f\x8b", "gzip"),
    (0, b"data:image/", "a data URL; send the decoded bytes"),
)
_BASE64: Final = re.compile(rb"(?:[\w+/-]{4}){4,16}", re.ASCII)
_PORTABLE: Final = {
    **dict.fromkeys(b"14", "PBM"),
    **dict.fromkeys(b"25", "PGM"),
    **dict.fromkeys(b"36", "PPM"),
    ord("7"): "PAM",
}


def is_photo(name: str) -> bool:
    """Whether a file is a photo, by its name."""
    return os.path.splitext(name)[1].lower() in SUFFIXES and not is_of_finder(name)


def is_of_finder(name: str) -> bool:
    """Whether a file is one that macOS puts beside each photo on disks of other systems; it is no image."""
    return os.path.basename(name).startswith(_FINDER)


def kind_of(head: bytes) -> str:
    """Return which of `FORMATS` an image file is, by its first bytes; 100 of them are enough.

    Raises `UnsupportedImage`, which says what the file looks like instead.
    """
    for kind, magic in _MAGICS:
        if head.startswith(magic):
            return kind
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP" and head[12:16] in _WEBP_CHUNKS:
        return "WEBP"
    brands = _brands(head)
    for brand in brands:
        if brand in _AVIF_BRANDS or brand in _HEIC_BRANDS:
            return "AVIF" if brand in _AVIF_BRANDS else "HEIC"
    if not _HEIF_BRANDS.isdisjoint(brands):
        return "HEIC"
    looks_like = _looks_like(head, brands)
    hint = f"; it looks like {looks_like}" if looks_like else ""
    raise UnsupportedImage(f"{UNKNOWN}{hint}")


def is_image(data: bytes) -> bool:
    """Whether a file is in one of `FORMATS`, by its first bytes."""
    with suppress(UnsupportedImage):
        return bool(kind_of(data[:HEAD_BYTES]))
    return False


def _brands(head: bytes) -> list[bytes]:
    """Return the brands of a file in boxes (ISO/IEC 14496-12), the major one first; none for any other file."""
    if head[4:8] != b"ftyp":
        return []
    end = min(int.from_bytes(head[:4], "big"), len(head), 8 + 4 * _MOST_BRANDS)
    return [head[8:12], *(head[at : at + 4] for at in range(16, end, 4))]


def _looks_like(head: bytes, brands: list[bytes]) -> str | None:
    if brands:
        return next((name for start, name in _VIDEOS.items() if brands[0].startswith(start)), "an MP4 video")
    if head[:1] == b"P" and head[1:2].isdigit() and head[2:3].isspace():
        return _PORTABLE.get(head[1])
    if _is_base64(head):
        return "base64 text; send the decoded bytes"
    found = (name for at, magic, name in _OTHERS if head.startswith(magic, at))
    return next(found, None) or (
        "SVG, HTML or XML" if head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"<" else None
    )


def _is_base64(head: bytes) -> bool:
    """Whether a head is that of an image in base64, of either alphabet."""
    text = _BASE64.match(head)
    if text is None:
        return False
    return is_image(urlsafe_b64decode(text[0].translate(bytes.maketrans(b"+/", b"-_"))))
