"""Test photos: four colours that tell the corners and the channels apart, and files that no library would write."""

import io
import struct
import zlib
from array import array
from collections.abc import Iterable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

# Red, green; blue, yellow.
CORNERS = np.array([[(220, 40, 40), (40, 180, 60)], [(50, 60, 210), (230, 220, 70)]], np.uint8)

BEST: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": 95, "subsampling": 0},
    "WEBP": {"lossless": True, "method": 0},
    "AVIF": {"quality": 95, "subsampling": "4:4:4", "max_threads": 1},
}
WRITTEN = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
"""The formats that Pillow writes; `tests.support.heif` has the one that it does not."""

KINDS = {"B": 1, "H": 3, "I": 4}
"""The numbers of a TIFF's types BYTE, SHORT and LONG, by their letters in `struct` and `array`."""


def photo(width: int = 120, height: int = 90, mode: str = "RGB") -> Image.Image:
    """Return red, green, blue and yellow quarters under a gradient, as no turn of it and no swap of channels is."""
    rows, columns = np.ogrid[0:height, 0:width]
    pixels = CORNERS[rows * 2 // height, columns * 2 // width]
    pixels -= ((rows + columns) * 30 // (width + height)).astype(np.uint8)[..., None]
    return Image.fromarray(pixels).convert(mode)


def ramp(width: int = 120, height: int = 90) -> NDArray[np.uint8]:
    """Return `[height, width]` values from 0 to 255, left to right."""
    return np.broadcast_to(np.linspace(0, 255, width).astype(np.uint8), (height, width)).copy()


def orientation(value: int) -> Image.Exif:
    """Return EXIF data with nothing but an orientation."""
    exif = Image.Exif()
    exif[0x0112] = value
    return exif


def encoded(image: Image.Image, form: str, **options: Any) -> bytes:
    """Return the file that Pillow writes; nearly lossless, where the format allows."""
    buffer = io.BytesIO()
    image.save(buffer, form, **BEST.get(form, {}) | options)
    return buffer.getvalue()


def png(width: int, height: int, *, depth: int = 8, colour: int = 2, rows: bytes = b"", key: bytes = b"") -> bytes:
    """Return a PNG of raw rows, each behind its filter byte; `key` is its tRNS chunk."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = [(b"IHDR", header), *([(b"tRNS", key)] if key else []), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    body = (struct.pack(">I", len(d)) + name + d + struct.pack(">I", zlib.crc32(name + d)) for name, d in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


def tiff(data: bytes, *, order: str = "<", **tags: int | Iterable[int]) -> bytes:
    """Return a TIFF of tags named `t256=…`, whose one strip (273) or tile (324) is `data`; -1 is its offset.

    A tag is LONG; it is BYTE or SHORT if it is an `array` of these.
    """
    kinds = {int(name[1:]): value.typecode if isinstance(value, array) else "I" for name, value in tags.items()}
    values = {int(name[1:]): [value] if isinstance(value, int) else list(value) for name, value in tags.items()}
    start = 8 + 2 + 12 * len(values) + 4
    sizes = [struct.calcsize(kinds[tag]) * len(value) for tag, value in values.items()]
    outside = start + sum(size for size in sizes if size > 4)
    directory, extra = b"", b""
    for tag, value in sorted(values.items()):
        packed = struct.pack(f"{order}{len(value)}{kinds[tag]}", *(outside if item == -1 else item for item in value))
        head = struct.pack(f"{order}HHI", tag, KINDS[kinds[tag]], len(value))
        inside = len(packed) <= 4
        directory += head + (packed.ljust(4, b"\0") if inside else struct.pack(f"{order}I", start + len(extra)))
        extra += b"" if inside else packed
    magic = b"II*\0" if order == "<" else b"MM\0*"
    return magic + struct.pack(f"{order}IH", 8, len(values)) + directory + bytes(4) + extra + data


def tiff_of_one_value(tags: int, size: int) -> bytes:
    """Return a grey TIFF of 64 x 64 pixels with so many unknown tags, whose values are the same bytes."""
    data = bytes(max(size, 64 * 64))
    known = {256: 64, 257: 64, 258: 8, 259: 1, 262: 1, 273: 8, 277: 1, 278: 64, 279: 64 * 64}
    entries = [struct.pack("<HHII", tag, 4, 1, value) for tag, value in known.items()]
    entries += [struct.pack("<HHII", 40_000 + tag, 7, size, 8) for tag in range(tags)]
    directory = struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + directory


def grey_tiff(
    width: int, height: int, data: bytes, *, bits: int = 8, order: str = "<", **tags: int | Iterable[int]
) -> bytes:
    """Return an uncompressed grey TIFF of one strip, save where `tags` say other."""
    common: dict[str, int | Iterable[int]] = {"t256": width, "t257": height, "t258": bits, "t259": 1, "t262": 1}
    strip: dict[str, int | Iterable[int]] = {"t273": -1, "t277": 1, "t278": height, "t279": len(data)}
    return tiff(data, order=order, **(common | strip | tags))


@cache
def bombs() -> dict[str, bytes]:
    """Return files of a few KB whose headers claim 256 megapixels and more."""
    jpeg = encoded(photo(), "JPEG")
    frame = jpeg.index(b"\xff\xc0") + 5
    gif = bytearray(encoded(photo(mode="P"), "GIF"))
    gif[6:10] = struct.pack("<HH", 60000, 60000)
    bmp = bytearray(encoded(photo(), "BMP"))
    bmp[18:26] = struct.pack("<ii", 20000, 20000)
    lossy = bytearray(encoded(photo(), "WEBP", lossless=False))
    lossy[26:30] = struct.pack("<HH", 16383, 16383)
    lossless = bytearray(encoded(Image.new("RGB", (16, 16)), "WEBP"))
    lossless[21:25] = struct.pack("<I", 0x3FFF << 14 | 0x3FFF)
    animated = bytearray(encoded(photo(), "WEBP", save_all=True, append_images=[photo().rotate(180)]))
    animated[24:30] = struct.pack("<I", 19999)[:3] * 2
    return {
        "JPEG": jpeg[:frame] + struct.pack(">HH", 60000, 60000) + jpeg[frame + 4 :],
        "PNG": png(20000, 20000, depth=1, colour=0, rows=bytes(2_000_000)),
        "GIF": bytes(gif),
        "BMP": bytes(bmp),
        "TIFF": grey_tiff(20000, 20000, b""),
        "WEBP lossy": bytes(lossy),
        "WEBP lossless": bytes(lossless),
        "WEBP animated": bytes(animated),
        "TIFF tile": vast_tile(16384),
    }


def vast_tile(side: int) -> bytes:
    """Return a TIFF of 16 x 16 pixels, cut from one deflated tile of `side` x `side`."""
    packer = zlib.compressobj(9)
    data = b"".join(packer.compress(bytes(side)) for _ in range(side)) + packer.flush()
    return tiff(data, t256=16, t257=16, t258=8, t259=8, t262=1, t277=1, t322=side, t323=side, t324=-1, t325=len(data))


def bmp_of_version_4(image: Image.Image) -> bytes:
    """Return a BMP of an RGBA image whose header names four masks, as Windows' clipboard has it."""
    masks = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    data = image.transpose(Image.Transpose.FLIP_TOP_BOTTOM).tobytes("raw", "BGRA")
    header = struct.pack("<IiiHHIIiiII4I4s48x", 108, *image.size, 1, 32, 3, len(data), 0, 0, 0, 0, *masks, b"BGRs")
    return struct.pack("<2sIII", b"BM", 14 + len(header) + len(data), 0, 14 + len(header)) + header + data


def run_length_bmp(image: Image.Image) -> bytes:
    """Return a picture of mode P as a BMP of run lengths: runs, and pixels as they are, by turns."""
    width, height = image.size
    codes = bytearray()  # to which appending costs what is appended
    for row in np.asarray(image)[::-1]:
        runs = np.split(row, np.flatnonzero(np.diff(row.astype(int))) + 1)
        for run in runs:
            for start in range(0, len(run), 200):
                part = run[start : start + 200]
                literal = len(part) > 2 and start == 0
                codes += (
                    bytes((0, len(part), *part, *[0] * (len(part) & 1))) if literal else bytes((len(part), part[0]))
                )
        codes += b"\0\0"
    codes += b"\0\1"
    palette = np.zeros((256, 4), np.uint8)
    colours = np.array(image.getpalette()).reshape(-1, 3)
    palette[: len(colours), :3] = colours[:, ::-1]
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(codes), 0, 0, 256, 0)
    start = 14 + len(header) + 1024
    return b"BM" + struct.pack("<IHHI", start + len(codes), 0, 0, start) + header + palette.tobytes() + codes


def endless_scans(count: int) -> bytes:
    """Return a progressive JPEG whose last scan comes `count` times more."""
    jpeg = encoded(Image.new("L", (64, 64), 128), "JPEG", progressive=True)
    return jpeg[:-2] + jpeg[jpeg.rindex(b"\xff\xda") : -2] * count + b"\xff\xd9"


def overlapping_strips(count: int) -> bytes:
    """Return a TIFF of 64 x 64 pixels that paints all its rows but the last `count` times."""
    data = bytes(64 * 64)
    return grey_tiff(64, 64, data, t278=63, t273=[-1] * (2 * count), t279=[len(data)] * (2 * count))
