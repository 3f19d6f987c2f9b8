"""Image files that try to break the service, all made here, each with the outcomes that the documents allow."""

import io
import random
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from itertools import chain
from typing import Any, Final, NamedTuple

import numpy as np
from PIL import Image, ImageCms

from tests.support import heif, images
from tests.support.images import encoded, grey_tiff, orientation, photo, png


class Outcome(NamedTuple):
    """What is answered for an image: a status, and the code of a problem or none."""

    status: int
    code: str | None = None


ANSWERED: Final = Outcome(200)
EMPTY: Final = Outcome(400, "empty_image")
TOO_MANY_PIXELS: Final = Outcome(413, "too_many_pixels")
UNSUPPORTED: Final = Outcome(415, "unsupported_image")
UNDECODABLE: Final = Outcome(422, "undecodable_image")
DAMAGED: Final = frozenset({ANSWERED, UNDECODABLE})  # where it is up to the decoder whether enough is left

FORMATS: Final = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
NEAR_SIDE: Final = 7000  # 49,000,000 pixels are just under the default of `MOBILENET_MAX_PIXELS`
HEADER_BYTES: Final = 64  # holds the magic and, in every format here, the size
SCRIPT: Final = b"<html><script>alert(1)</script></html>"


@dataclass(frozen=True)
class Case:
    """A file, how it is announced, and the outcomes of which one must be answered."""

    name: str
    data: bytes
    allowed: frozenset[Outcome]
    content_type: str = "application/octet-stream"
    filename: str = "image"


def case(name: str, data: bytes, *allowed: Outcome) -> Case:
    """Return a case with one allowed outcome or several."""
    return Case(name, data, frozenset(allowed))


def noisy(width: int = 640, height: int = 480) -> Image.Image:
    """Return the test photo under noise, so that its files have much to damage."""
    noise = np.random.default_rng(0).integers(-20, 20, (height, width, 3))
    return Image.fromarray(np.clip(np.asarray(photo(width, height)) + noise, 0, 255).astype(np.uint8))


def frames() -> list[Image.Image]:
    """Return what follows the first frame of an animation."""
    return [photo().rotate(90), photo().rotate(180)]


def corpus() -> list[Case]:
    """Return every case."""
    parts = (
        cut(),
        flipped(),
        announced(),
        sizes(),
        kinds(),
        jpegs(),
        pngs(),
        gifs(),
        webps(),
        bmps(),
        tiffs(),
        heifs(),
    )
    return [*chain(*parts), *bombs(), *disproportionate(), *polyglots(), *foreign(), *headers(600_000)]


# Damage of a good file.


def cut() -> Iterator[Case]:
    """Truncate a photo at every sixteenth, and a file of every format in the middle and before its last byte."""
    jpeg = encoded(noisy(), "JPEG", quality=85)
    for sixteenth in range(16):
        yield case(
            f"JPEG cut at {sixteenth}/16", jpeg[: len(jpeg) * sixteenth // 16], UNDECODABLE if sixteenth else EMPTY
        )
    progressive = encoded(noisy(), "JPEG", progressive=True)
    yield case("progressive JPEG cut in the middle", progressive[: len(progressive) // 2], UNDECODABLE)
    yield case("JPEG without its end marker", jpeg[:-2], *DAMAGED)
    for form in FORMATS:
        data = encoded(photo(), form)
        yield case(f"{form} cut in the middle", data[: len(data) // 2], UNDECODABLE)
        yield case(f"{form} without its last byte", data[:-1], *DAMAGED)
        yield case(f"{form} of its magic alone", data[:16], UNDECODABLE)


def flipped() -> Iterator[Case]:
    """Flip bits of good files, behind what says their size; which bits is fixed by a seed."""
    for form in FORMATS:
        data = encoded(noisy(160, 120), form, **({"quality": 85} if form == "JPEG" else {}))
        for seed in range(8):
            yield case(f"{form} with flipped bits, seed {seed}", flip(data, seed, 1 + 4 * seed), *DAMAGED)


def flip(data: bytes, seed: int, count: int) -> bytes:
    """Return a copy with `count` bits flipped."""
    choice = random.Random(seed)
    damaged = bytearray(data)
    for _ in range(count):
        damaged[choice.randrange(HEADER_BYTES, len(damaged))] ^= 1 << choice.randrange(8)
    return bytes(damaged)


def announced() -> Iterator[Case]:
    """Announce every format as another one, with the extension of a third: the bytes count."""
    for form, claimed, extension in zip(FORMATS, FORMATS[1:] + FORMATS[:1], FORMATS[2:] + FORMATS[:2], strict=True):
        name, kind = f"photo.{extension.lower()}", f"image/{claimed.lower()}"
        yield Case(f"{form} sent as {kind}", encoded(photo(), form), frozenset({ANSWERED}), kind, name)
    png_file = encoded(photo(), "PNG")
    yield Case("PNG sent as a type that no one knows", png_file, frozenset({ANSWERED}), "image/x-nonsense", "a.exe")
    yield Case("PNG named like a path", png_file, frozenset({ANSWERED}), "image/svg+xml", "../../etc/passwd")
    yield Case("HTML sent as image/jpeg", SCRIPT, frozenset({UNSUPPORTED}), "image/jpeg", "photo.jpg")


# Sizes at the limits.


def sizes() -> Iterator[Case]:
    """The smallest, the thinnest, the widest, and none at all."""
    yield case("no bytes", b"", EMPTY)
    yield case("one byte", b"\xff", UNSUPPORTED)
    for form in FORMATS:
        for width, height in ((1, 1), (1, 10_000), (10_000, 1)):
            yield case(f"{form} of {width} × {height}", encoded(Image.new("RGB", (width, height)), form), ANSWERED)
    yield case("JPEG 65,500 wide, all that libjpeg reads", encoded(Image.new("RGB", (65_500, 8)), "JPEG"), ANSWERED)
    yield case("JPEG 65,535 wide, all that the format has", resized_jpeg(65_535, 8), UNDECODABLE)
    yield case("JPEG of 65,535 × 65,535", resized_jpeg(65_535, 65_535), TOO_MANY_PIXELS)
    yield case("PNG 65,535 wide", encoded(Image.new("RGB", (65_535, 8)), "PNG"), ANSWERED)
    yield case("GIF 65,535 wide", encoded(Image.new("P", (65_535, 8)), "GIF"), ANSWERED)
    yield case("JPEG 0 wide", resized_jpeg(0, 90), UNDECODABLE)
    yield case("JPEG 0 high", resized_jpeg(120, 0), UNDECODABLE)
    yield case("PNG of 0 × 0", png(0, 0), UNDECODABLE)
    yield case("GIF of 0 × 0", patched(encoded(photo(mode="P"), "GIF"), 6, "<HH", 0, 0), *DAMAGED)
    yield case("BMP of 0 × 0", patched(encoded(photo(), "BMP"), 18, "<ii", 0, 0), UNDECODABLE)
    yield case("TIFF of 0 × 0", grey_tiff(0, 0, b""), UNDECODABLE)
    yield case("WebP of 0 × 0", patched(encoded(photo(), "WEBP", lossless=False), 26, "<HH", 0, 0), UNDECODABLE)


def patched(data: bytes, at: int, layout: str, *values: int) -> bytes:
    """Return a copy with numbers written over what is there."""
    damaged = bytearray(data)
    struct.pack_into(layout, damaged, at, *values)
    return bytes(damaged)


def frame_header(jpeg: bytes) -> int:
    """Return where the marker SOF0 of a baseline JPEG is."""
    return jpeg.index(b"\xff\xc0")


def resized_jpeg(width: int, height: int) -> bytes:
    """Return a small JPEG that claims another size."""
    jpeg = encoded(photo(), "JPEG")
    return patched(jpeg, frame_header(jpeg) + 5, ">HH", height, width)


# Every good kind of file.


def kinds() -> Iterator[Case]:
    """Good files that are not the plain one: turned, animated, of inks, with a profile."""
    for value in range(1, 9):
        yield case(f"JPEG with EXIF {value}", encoded(photo(), "JPEG", exif=orientation(value)), ANSWERED)
    for form in ("GIF", "WEBP", "PNG"):
        yield case(f"animated {form}", encoded(photo(), form, save_all=True, append_images=frames()), ANSWERED)
    yield case("TIFF of three pages", encoded(photo(), "TIFF", save_all=True, append_images=frames()), ANSWERED)
    yield case("MPO", encoded(photo(), "MPO", save_all=True, append_images=frames()), ANSWERED)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for form in ("JPEG", "WEBP", "PNG", "TIFF"):
        yield case(f"{form} with a profile", encoded(photo(), form, icc_profile=profile), ANSWERED)
        yield case(f"{form} with a profile of nonsense", encoded(photo(), form, icc_profile=b"x" * 200_000), ANSWERED)
    for mode in ("1", "L", "LA", "P", "RGBA", "I;16"):
        image = Image.fromarray(np.full((9, 9), 9, np.uint16)) if mode == "I;16" else photo(mode=mode)
        yield case(f"PNG {mode}", encoded(image, "PNG"), ANSWERED)
    for packing in ("raw", "packbits", "tiff_lzw", "tiff_deflate", "jpeg"):
        yield case(f"TIFF packed by {packing}", encoded(photo(), "TIFF", compression=packing), ANSWERED)
    yield case("BigTIFF", encoded(photo(), "TIFF", big_tiff=True), ANSWERED)


# Hostile files, by format.


def jpegs() -> Iterator[Case]:
    """JPEGs of unusual kinds and with lying segments."""
    jpeg = encoded(photo(), "JPEG")
    frame = frame_header(jpeg)
    yield case("progressive JPEG", encoded(photo(), "JPEG", progressive=True), ANSWERED)
    yield case("arithmetic-coded JPEG", arithmetic(), *DAMAGED)  # by how libjpeg was built
    yield case("Huffman-coded JPEG that says arithmetic", patched(jpeg, frame + 1, "B", 0xC9), *DAMAGED)
    yield case("JPEG of 12 bits", patched(jpeg, frame + 4, "B", 12), UNDECODABLE)
    yield case("JPEG of 0 bits", patched(jpeg, frame + 4, "B", 0), UNDECODABLE)
    yield case("lossless JPEG", patched(jpeg, frame + 1, "B", 0xC3), *DAMAGED)
    yield case("JPEG of 255 components", patched(jpeg, frame + 9, "B", 255), UNDECODABLE)
    yield case("JPEG whose sampling is 15 × 15", patched(jpeg, frame + 11, "B", 0xFF), UNDECODABLE)
    yield case("JPEG whose tables are missing", jpeg[:2] + jpeg[frame:], UNDECODABLE)
    inks = encoded(photo(mode="CMYK"), "JPEG")
    adobe = inks.index(b"\xff\xee")
    yield case("CMYK JPEG of Adobe", inks, ANSWERED)
    yield case("CMYK JPEG not of Adobe", inks[:adobe] + inks[adobe + 16 :], ANSWERED)
    yield case("JPEG whose segment is longer than the file", jpeg[:2] + b"\xff\xe5\xff\xff" + jpeg[2:], UNDECODABLE)
    yield case("JPEG whose segment is of length 0", jpeg[:2] + b"\xff\xe5\0\0" + jpeg[2:], *DAMAGED)
    yield case("JPEG that is a start marker 1,000 times", b"\xff\xd8" * 1000, UNDECODABLE)
    yield case("JPEG with scans without end", images.endless_scans(200), UNDECODABLE)
    yield case("JPEG with 65,000 bytes of restart markers", jpeg[:-2] + b"\xff\xd0" * 32_500 + jpeg[-2:], ANSWERED)


def arithmetic() -> bytes:
    """Return a real arithmetic-coded JPEG, of one grey.

    It is progressive (SOF10) with one scan, of the DC coefficients. All their differences are 0, which the coder
    writes as bytes of 0 and drops at the end of a scan (ITU T.81, D.1.8), so that no coder is needed to make it.
    """
    table = b"\xff\xdb\0\x43\0" + b"\1" * 64
    frame = b"\xff\xca" + struct.pack(">HBHHB", 11, 8, 64, 64, 1) + b"\1\x11\0"
    scan = b"\xff\xda" + struct.pack(">HBBBBBB", 8, 1, 1, 0, 0, 0, 0)
    return b"\xff\xd8" + table + frame + scan + b"\xff\xd9"


def chunk(name: bytes, data: bytes) -> bytes:
    """Return a chunk of a PNG."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def with_chunks(*chunks: bytes) -> bytes:
    """Return a good PNG with more chunks behind its header."""
    data = encoded(photo(), "PNG")
    return data[:33] + b"".join(chunks) + data[33:]


def pngs() -> Iterator[Case]:
    """PNGs with wrong checksums, wrong orders and texts that grow."""
    good = encoded(photo(), "PNG")
    bomb = packed(2**26)
    yield case("PNG whose header has a wrong CRC", patched(good, 29, ">I", 0), UNDECODABLE)
    yield case("PNG whose pixels have a wrong CRC", patched(good, len(good) - 16, ">I", 0), *DAMAGED)
    yield case("PNG whose text has a wrong CRC", with_chunks(chunk(b"tEXt", b"a\0b")[:-4] + bytes(4)), *DAMAGED)
    yield case("PNG without IEND", good[:-12], *DAMAGED)
    yield case("PNG without IDAT", good[:33] + good[-12:], UNDECODABLE)
    yield case("PNG of two headers", good[:33] + good[8:], *DAMAGED)
    yield case("PNG without its palette", png(8, 8, colour=3, rows=bytes(9 * 8)), *DAMAGED)
    yield case("PNG of a colour type and a depth that are none", png(8, 8, depth=3, colour=9), UNDECODABLE)
    yield case("PNG whose filter is none", png(8, 8, rows=b"\x09" * 25 * 8), UNDECODABLE)
    yield case("PNG with too few rows", png(80, 80, rows=b"\0" + b"\xff" * 240), ANSWERED)
    yield case("PNG whose chunk is longer than the file", good[:33] + b"\x7f\xff\xff\xfftEXt" + good[33:], UNDECODABLE)
    yield case("PNG whose profile is a bomb", with_chunks(chunk(b"iCCP", b"a\0\0" + bomb)), *DAMAGED)
    yield case("PNG whose text is a bomb", with_chunks(chunk(b"zTXt", b"a\0\0" + bomb)), *DAMAGED)
    yield case("PNG whose other text is a bomb", with_chunks(chunk(b"iTXt", b"a\0\1\0\0\0" + bomb)), *DAMAGED)
    texts = [chunk(b"zTXt", b"%d\0\0" % number + packed(10**6)) for number in range(200)]
    yield case("PNG of 200 texts of a megabyte", with_chunks(*texts), *DAMAGED)
    many = with_chunks(chunk(b"acTL", struct.pack(">II", 2**31 - 1, 0)))
    yield case("PNG that announces 2,147,483,647 frames", many, *DAMAGED)


@cache
def packed(count: int) -> bytes:
    """Return `count` bytes of 0, deflated, without ever holding them."""
    packer = zlib.compressobj(1)
    size = 2**20
    parts = [packer.compress(bytes(min(size, count - start))) for start in range(0, count, size)]
    return b"".join(parts) + packer.flush()


def gifs() -> Iterator[Case]:
    """GIFs whose frame and screen disagree, and whose codes are nonsense."""
    good = encoded(photo(mode="P"), "GIF")
    frame = good.index(b",", 13 + 3 * (2 << (good[10] & 7)))
    yield case("GIF whose frame is larger than its screen", patched(good, 6, "<HH", 10, 10), ANSWERED)
    huge = patched(patched(good, 6, "<HH", 10, 10), frame + 5, "<HH", 60_000, 60_000)
    yield case("GIF whose frame is huge on a small screen", huge, TOO_MANY_PIXELS)
    yield case("GIF whose frame lies far outside", patched(good, frame + 1, "<HH", 65_000, 65_000), TOO_MANY_PIXELS)
    yield case("GIF whose frame is of 0 × 0", patched(good, frame + 5, "<HH", 0, 0), *DAMAGED)
    yield case("GIF with codes of 255 bits", patched(good, frame + 10, "B", 255), UNDECODABLE)
    yield case("GIF without a frame", good[:frame] + b";", UNDECODABLE)
    yield case("GIF whose blocks have no end", good[:frame] + b"!\xfe" + b"\xff" * 10_000, UNDECODABLE)


def webps() -> Iterator[Case]:
    """WebPs whose canvas, frames and lengths disagree."""
    lossy = encoded(photo(), "WEBP", lossless=False)
    still = encoded(photo(mode="RGBA"), "WEBP", lossless=False, exif=orientation(1))
    moving = encoded(photo(), "WEBP", save_all=True, append_images=frames())
    for name, good in (("still", still), ("moving", moving)):
        yield case(f"{name} WebP whose canvas is too small", canvas(good, 10), *DAMAGED)
        yield case(f"{name} WebP whose canvas is too large", canvas(good, 3000), *DAMAGED)
        yield case(f"{name} WebP whose canvas is huge", canvas(good, 2**24), TOO_MANY_PIXELS)
    inner = bytearray(still)
    struct.pack_into("<HH", inner, still.index(b"\x9d\x01\x2a") + 3, 16_383, 16_383)
    yield case("WebP whose picture is huge on a small canvas", bytes(inner), *DAMAGED)
    yield case("WebP that says 4 GB", patched(lossy, 4, "<I", 2**32 - 2), *DAMAGED)
    yield case("WebP whose chunk says 4 GB", patched(lossy, 16, "<I", 2**32 - 2), UNDECODABLE)
    # The first chunk is what tells the three kinds of WebP, so that without it a file is none of them.
    yield case("WebP of an unknown chunk", lossy[:12] + b"abcd" + lossy[16:], UNSUPPORTED)
    yield case("WebP of its header alone", b"RIFF\x04\0\0\0WEBP", UNSUPPORTED)


def canvas(webp: bytes, side: int) -> bytes:
    """Return a copy of an extended WebP with another canvas."""
    width = struct.pack("<I", side - 1)[:3]
    return webp[:24] + width + width + webp[30:]


def bmps() -> Iterator[Case]:
    """BMPs of impossible sizes, depths and palettes."""
    good = encoded(photo(), "BMP")
    yield case("BMP stored from the top down", patched(good, 22, "<i", -90), ANSWERED)
    yield case("BMP of a negative width", patched(good, 18, "<i", -120), TOO_MANY_PIXELS, UNDECODABLE)
    for name, width, height in (("widest", 2**31 - 1, 1), ("tallest", 1, -(2**31)), ("largest", 2**31 - 1, 2**31 - 1)):
        yield case(f"BMP, the {name}", patched(good, 18, "<ii", width, height), TOO_MANY_PIXELS)
    yield case("BMP of 200 bits", patched(good, 28, "<H", 200), UNDECODABLE)
    yield case("BMP with an unknown packing", patched(good, 30, "<I", 99), UNDECODABLE)
    yield case("BMP whose pixels lie beyond its end", patched(good, 10, "<I", 2**32 - 1), UNDECODABLE)
    yield case("BMP whose header is of 4 GB", patched(good, 14, "<I", 2**32 - 1), UNDECODABLE)
    palette = encoded(photo(mode="P"), "BMP")
    yield case("BMP of 4,294,967,295 colours", patched(palette, 46, "<I", 2**32 - 1), UNDECODABLE)
    yield case("BMP whose runs end at once", runs(b"\0\1"), ANSWERED)
    yield case("BMP whose runs leave its area", runs(b"\0\2\xff\xff" * 1000 + b"\xff\1\0\1"), *DAMAGED)
    yield case("BMP of 64 × 64 with 10 MB of codes", runs(b"\0\3" * 5_000_000, 64), UNDECODABLE)


def runs(codes: bytes, side: int = NEAR_SIDE) -> bytes:
    """Return a run-length-coded BMP, by default of 7,000 × 7,000 pixels."""
    head = struct.pack("<IIIIiiHHIIiiII", 54 + 1024, 0, 54 + 1024, 40, side, side, 1, 8, 1, len(codes), 0, 0, 256, 0)
    return b"BM" + head + bytes(1024) + codes


def tiffs() -> Iterator[Case]:
    """TIFFs with huge tags and counts, and with offsets that lead in circles or nowhere."""
    for tag, name in ((256, "width"), (257, "height")):
        yield case(f"TIFF whose {name} is 2³² - 1", small_tiff({tag: 2**32 - 1}), TOO_MANY_PIXELS)
    huge = {284: "planes", 258: "bits", 259: "packing", 262: "colours", 277: "samples", 266: "order"}
    for tag, name in huge.items():
        yield case(f"TIFF with huge {name}", small_tiff({tag: 2**32 - 1}), UNDECODABLE)
    for tag, name in ((273, "offset"), (279, "length"), (278, "rows in its strip")):
        for packing in (1, 8):
            wrong = small_tiff({259: packing, tag: 2**32 - 1})
            yield case(f"TIFF of packing {packing} with a huge {name}", wrong, *DAMAGED)
    good = small_tiff({})
    count = good.index(struct.pack("<HH", 258, 4)) + 4
    yield case("TIFF whose tag has 4,294,967,295 values", patched(good, count, "<I", 2**32 - 1), *DAMAGED)
    yield case("TIFF whose directory is itself the next", patched(good, 8 + 2 + 12 * 9, "<I", 8), ANSWERED)
    yield case("TIFF whose directory lies in the header", patched(good, 4, "<I", 0), UNDECODABLE)
    yield case("TIFF whose directory lies beyond its end", patched(good, 4, "<I", 2**32 - 1), UNDECODABLE)
    yield case("TIFF of 65,535 tags that are not there", patched(good, 8, "<H", 65_535), *DAMAGED)
    yield case("TIFF whose EXIF directory is the first", small_tiff({34665: 8}), ANSWERED)
    yield case("TIFF whose inner directories lead in a circle", small_tiff({330: [8, 8, 8]}), ANSWERED)
    yield case("TIFF that paints its area 60 times", images.overlapping_strips(60), UNDECODABLE)
    for packing in (2, 3, 4, 5, 6, 7, 8, 32773, 34925, 50000, 50001):
        yield case(
            f"TIFF of packing {packing} that holds noise", grey_tiff(64, 64, noise(4096), t259=packing), *DAMAGED
        )
    jpeg = encoded(Image.new("L", (8, 8)), "JPEG")
    frame = frame_header(jpeg)
    inner = patched(jpeg, frame + 5, ">HH", 65_500, 65_500)
    yield case("TIFF whose inner JPEG is huge", grey_tiff(8, 8, inner, t259=7), *DAMAGED)


def heifs() -> Iterator[Case]:
    """HEICs and AVIFs: good ones, and such as have something read or counted without end."""
    tile = heif.picture(data=heif.COLOUR_PICTURE + bytes(10_000))
    metadata = [heif.Part(b"Exif", bytes(10**6))] * 900
    twice = [(1, b"dimg", [3, 4]), (1, b"dimg", [2])]
    yield case("HEIC", heif.heic(), ANSWERED)
    yield case("AVIF", heif.avif(photo()), ANSWERED)
    yield case("HEIC of a tile 9,000 times", heif.heif(heif.mosaic([2] * 9_000, tile)), UNDECODABLE)
    yield case("HEIC of images of images", heif.heif(heif.nested(60), references=twice), UNDECODABLE)
    yield case("HEIC of 900 MB of metadata", heif.heif([tile, *metadata], shared=True), UNDECODABLE)
    yield case("HEIC in 2,000 pieces", heif.heif([replace(tile, pieces=[(0, 10_000)] * 2_000)]), UNDECODABLE)


def small_tiff(tags: dict[int, int | list[int]]) -> bytes:
    """Return a grey TIFF of 8 × 8 pixels with other tags than it should have."""
    named: dict[str, Any] = {f"t{tag}": value for tag, value in tags.items()}
    return grey_tiff(8, 8, bytes(64), **named)


def noise(count: int, seed: int = 0) -> bytes:
    """Return random bytes, the same each time."""
    return random.Random(seed).randbytes(count)


# More pixels, or more bytes, than the file looks like.


def bombs() -> Iterator[Case]:
    """Small files of huge sizes, refused by their header, and such just under the limit, which are answered."""
    for name, data in images.bombs().items():
        yield case(f"bomb, {name}", data, TOO_MANY_PIXELS)
    yield case("bomb, PNG of 2³¹ - 1 pixels squared", png(2**31 - 1, 2**31 - 1), TOO_MANY_PIXELS)
    yield case("PNG of ten rows that unpacks to 64 MB", png_of_zeros(10, 10, excess=2**26), ANSWERED)
    for colour, name in ((0, "grey"), (2, "RGB"), (4, "LA"), (6, "RGBA")):
        yield case(f"near the limit, PNG {name}", png_of_zeros(NEAR_SIDE, NEAR_SIDE, colour), ANSWERED)
    yield case("near the limit, GIF", encoded(Image.new("P", (NEAR_SIDE, NEAR_SIDE)), "GIF"), ANSWERED)
    yield case("near the limit, TIFF of 32 bits", tiff_of_zeros(), ANSWERED)
    flat = Image.new("RGB", (NEAR_SIDE, NEAR_SIDE))
    yield case("near the limit, WebP", encoded(flat, "WEBP", method=0, quality=0), ANSWERED)
    yield case("near the limit, progressive JPEG", encoded(flat, "JPEG", progressive=True, quality=50), ANSWERED)


def disproportionate() -> Iterator[Case]:
    """Small images that make a decoder take far more memory, or far more work, than their size says."""
    vast = heif.overlay(30_000, 2)
    yield case("HEIC that is laid over 900 megapixels", heif.heif([vast, heif.picture()]), UNSUPPORTED)
    faint = heif.overlay(30_000, 5, heif.ALPHA, auxl=[3])
    tile = [heif.whole(2), *heif.mosaic([3], heif.picture()), faint, heif.mask()]
    yield case("HEIC whose tile has a transparency of 900 megapixels", heif.heif(tile), UNSUPPORTED)
    slices = heif.COLOUR_PICTURE + heif.later_slice() * 3_000
    yield costly("HEIC that is painted over 3,000 times", heif.heic(data=slices))
    yield from (costly(name, heif.heif(parts, brands=(b"avif", b"mif1"))) for name, parts in avifs().items())
    tiled: dict[str, Any] = {"t256": 16, "t258": 8, "t259": 8, "t262": 1, "t277": 1}
    data = packed(2**24)
    wide = {"t257": 3_200, "t322": 2**20, "t323": 16, "t324": [-1] * 200, "t325": [len(data)] * 200}
    yield costly("TIFF of tiles of a megapixel a row", images.tiff(data, **tiled | wide))
    deep = {"t257": 16, "t258": [16] * 4, "t262": 2, "t277": 4, "t338": 2, "t322": 4_096, "t323": 4_096}
    data = packed(8 * 4_096**2)
    yield costly("TIFF of one tile of 134 MB", images.tiff(data, **tiled | deep | {"t324": -1, "t325": len(data)}))
    yield costly("TIFF of 600 tags of the same megabyte", images.tiff_of_one_value(600, 10**6))


def avifs() -> dict[str, list[heif.Part]]:
    """Return the items of AVIFs that are larger in one place than in another, or of many frames."""
    small, flat = heif.av1(photo()), heif.av1(Image.new("RGB", (1_000, 1_000)), quality=30, speed=10)
    tiles = heif.grid(2, 2, heif.av1_part(small, shown=heif.size(5_000, 5_000)), 240, 180)
    vast = replace(tiles[0], data=struct.pack(">BBBBHH", 0, 0, 1, 1, 10_000, 10_000))
    frames = replace(heif.av1_part(flat, shown=heif.size(1_000, 1_000)), data=flat.data * 1_000)
    mask = heif.av1(Image.fromarray(images.ramp()), subsampling="4:0:0")
    faint = replace(heif.av1_part(mask, heif.ALPHA, shown=heif.size(16_000, 16_000)), references={b"auxl": [1]})
    return {
        "AVIF whose tiles fill 100 megapixels": [vast, *tiles[1:]],
        "AVIF whose tiles say that they are large": tiles,
        "AVIF whose transparency says that it is large": [heif.av1_part(small), faint],
        "AVIF of 1,000 frames": [frames],
    }


def png_of_zeros(width: int, height: int, colour: int = 2, excess: int = 0) -> bytes:
    """Return a PNG of bytes of 0, with more of them than its header says where there is `excess`."""
    samples = {0: 1, 2: 3, 4: 2, 6: 4}[colour]
    header = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)
    data = chunk(b"IDAT", packed(height * (1 + width * samples) + excess))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + data + chunk(b"IEND", b"")


def tiff_of_zeros() -> bytes:
    """Return a deflated TIFF of 32-bit integers just under the limit: Pillow's widest pixels that are read."""
    data = packed(NEAR_SIDE * NEAR_SIDE * 4)
    return grey_tiff(NEAR_SIDE, NEAR_SIDE, data, bits=32, t259=8, t339=2)


EXIF: Final = b"\xff\xe1\0\x0aExif\0\0\0\0"
HIDDEN: Final = (b"\xff\xc8\xff\xff" + EXIF * 5461).ljust(65_537, b"\xff")
"""A segment for whoever gives its marker a length; Pillow does not, and reads what is within."""


def segment(code: int, data: bytes) -> bytes:
    """Return a segment of a JPEG."""
    return struct.pack(">BBH", 0xFF, code, len(data) + 2) + data


def headers(size: int) -> Iterator[Case]:
    """Good photos behind or before `size` bytes that mean nothing and cost Pillow a step every few bytes."""
    jpeg, gif = encoded(photo(), "JPEG", progressive=True), encoded(photo(mode="P"), "GIF")
    for name, junk in {
        "fill bytes": b"\xff",
        "empty segments": b"\xff\xe5\0\2",
        "EXIF segments": EXIF,
        "long EXIF segments": segment(0xE1, b"Exif\0\0" + bytes(7_000)),
    }.items():
        yield costly(f"JPEG behind {size:,} bytes of {name}", jpeg[:2] + junk * (size // len(junk)) + jpeg[2:])
    for name, junk in {  # what Pillow would take apart, and never sees
        "hidden EXIF segments": HIDDEN,
        "Photoshop blocks": segment(0xED, b"Photoshop 3.0\0" + (b"8BIM\4\4" + bytes(6)) * 5_000),
    }.items():
        yield case(f"JPEG behind {size:,} bytes of {name}", jpeg[:2] + junk * (size // len(junk)) + jpeg[2:], ANSWERED)
    palette = 13 + 3 * (2 << (gif[10] & 7))
    for name, junk in {"comments": b"!\xfe\1a\0", "nothing": b"\0"}.items():
        long = gif[:palette] + junk * (size // len(junk)) + gif[palette:]
        yield costly(f"GIF behind {size:,} bytes of {name}", long)
    chunks = chunk(b"abCd", b"") * (size // 12)
    yield costly(f"PNG behind {size:,} bytes of empty chunks", with_chunks(chunks))
    strips = size // 8
    place: dict[str, Any] = {"t273": [8] * strips, "t279": [1] * strips}
    yield costly(f"TIFF of {strips:,} strips", grey_tiff(1, strips, b"\0", t278=1, **place))


def endless(size: int) -> Iterator[Case]:
    """Files of `size` bytes, each of which is a step for Pillow after the header."""
    good = encoded(photo(), "PNG")
    for name, at in {"data": good.index(b"IDAT") - 4, "end": len(good) - 12}.items():
        empty = chunk(b"IDAT" if name == "data" else b"abCd", b"") * (size // 12)
        yield costly(f"PNG with {size:,} bytes of empty chunks before its {name}", good[:at] + empty + good[at:])
    # Its runs are read without a step of Python for each, and it is an image like any other.
    yield case(f"BMP of {size // 2:,} runs", run_length_bmp(5_000, size // 10_000), ANSWERED, UNDECODABLE)


def in_pieces(data: bytes, size: int) -> bytes:
    """Return a PNG whose one chunk of data is in pieces of so many bytes."""
    start = data.index(b"IDAT") - 4
    (length,) = struct.unpack_from(">I", data, start)
    packed = data[start + 8 : start + 8 + length]
    pieces = b"".join(chunk(b"IDAT", packed[at : at + size]) for at in range(0, length, size))
    return data[:start] + pieces + data[start + 12 + length :]


def run_length_bmp(width: int, height: int) -> bytes:
    """Return a BMP of 256 colours in which every pixel is a run of its own."""
    runs = (b"\1\1" * width + b"\0\0") * height + b"\0\1"
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(runs), 0, 0, 256, 0)
    start = 14 + len(header) + 1024
    return b"BM" + struct.pack("<IHHI", start + len(runs), 0, 0, start) + header + bytes(1024) + runs


def costly(name: str, data: bytes) -> Case:
    """Return a case that must be refused."""
    return case(name, data, UNDECODABLE)


# What is no image, or more than one thing.


def polyglots() -> Iterator[Case]:
    """Files that are an image and something else: the image counts, and the rest never does."""
    archive = zipped()
    yield case("GIF with a page behind it", encoded(photo(mode="P"), "GIF") + SCRIPT, ANSWERED)
    yield case("GIF header with a page behind it", b"GIF89a" + SCRIPT, UNDECODABLE, TOO_MANY_PIXELS)
    yield case("JPEG with an archive behind it", encoded(photo(), "JPEG") + archive, ANSWERED)
    yield case("JPEG whose comment is a script", encoded(photo(), "JPEG", comment=SCRIPT), ANSWERED)
    yield case("PNG with a script behind it", encoded(photo(), "PNG") + SCRIPT, ANSWERED)
    yield case("PNG whose text is a script", with_chunks(chunk(b"tEXt", b"a\0" + SCRIPT)), ANSWERED)
    yield case("BMP with an archive behind it", encoded(photo(), "BMP") + archive, ANSWERED)
    yield case("TIFF with a page behind it", encoded(photo(), "TIFF") + SCRIPT, ANSWERED)
    yield case("PDF with a JPEG behind it", b"%PDF-1.7\n" + encoded(photo(), "JPEG"), UNSUPPORTED)
    yield case("text that begins like a BMP", b"BMW and BMX are not BMP. " * 20, UNDECODABLE, TOO_MANY_PIXELS)


def zipped() -> bytes:
    """Return an archive."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("photo.jpg", encoded(photo(), "JPEG"))
    return buffer.getvalue()


def foreign() -> Iterator[Case]:
    """What is none of the six formats."""
    files = {
        "HTML": SCRIPT,
        "SVG": b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect width="9" height="9"/></svg>',
        "SVG with entities": b'<!DOCTYPE s [<!ENTITY a SYSTEM "file:///etc/passwd">]><svg>&a;</svg>',
        "PDF": b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\ntrailer\n<<>>\n%%EOF\n",
        "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(%pipe%id) (r) file\n",
        "text": "This is no image, naïvely speaking.\n".encode() * 50,
        "UTF-16": "This is no image either.".encode("utf-16"),
        "an archive": zipped(),
        "zeros": bytes(10_000),
        "PPM": encoded(photo(), "PPM"),
        "JPEG 2000": encoded(photo(), "JPEG2000"),
        "a sound in RIFF": b"RIFF\x24\0\0\0WAVEfmt " + bytes(100),
        **{f"random bytes, seed {seed}": noise(10_000, seed) for seed in range(8)},
    }
    yield from (case(name, data, UNSUPPORTED) for name, data in files.items())
    magics: Iterable[bytes] = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"II*\0", b"MM\0*", b"II+\0")
    for magic in (*magics, *(b"RIFF\0\1\0\0WEBP" + kind for kind in (b"VP8 ", b"VP8L", b"VP8X"))):
        for seed in range(3):
            data = magic + noise(2000, seed)
            yield case(f"random bytes behind {magic!r}, seed {seed}", data, UNDECODABLE, TOO_MANY_PIXELS)
