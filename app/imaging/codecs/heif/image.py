"""HEIC and AVIF: images in boxes, coded as HEVC by phones or as AV1 for the web.

What decoding one takes is found out from the boxes and the coded streams before a decoder sees them: the decoders trust
what a file says of itself.
"""

from collections import Counter
from dataclasses import dataclass
from io import BytesIO
from itertools import islice
from typing import Final, NamedTuple

import pi_heif
from PIL import AvifImagePlugin, Image

from app.errors import UndecodableImage, UnsupportedImage
from app.imaging.bounds import LAYERS, check_memory, check_pixels, too_much_work
from app.imaging.codecs import icc
from app.imaging.codecs.heif import bitstreams
from app.imaging.codecs.heif.boxes import Box, Item, Items, items

_BYTES: Final = 11  # that a pixel takes while it is decoded, measured
_SLACK: Final = 2**20  # coded pixels that even the smallest image may have: codecs work on blocks
_MOST_PARTS: Final = 10_000  # of an image and its transparency; a grid of 200 megapixels has 800
_MOST_UNITS: Final = 20_000  # of all their streams; a part has a handful
_MOST_COPIED: Final = 64 * 2**20  # bytes that libheif copies beside pictures: EXIF and profiles, for each image
_DERIVED: Final = frozenset((b"grid", b"iovl", b"iden"))
_CODECS: Final = {b"hvc1": "HEIC", b"hev1": "HEIC", b"av01": "AVIF"}
_CODINGS: Final = {
    b"avc1": "H.264", b"vvc1": "H.266", b"jpeg": "JPEG", b"j2k1": "JPEG 2000", b"unci": "no compression"
}  # fmt: skip
_BOTH: Final = b"avif"

# One thread: the service decodes as many images at once as it has processors, and more threads take more memory.
pi_heif.options.DECODE_THREADS = 1
pi_heif.options.THUMBNAILS = pi_heif.options.DEPTH_IMAGES = pi_heif.options.AUX_IMAGES = False
AvifImagePlugin.DEFAULT_MAX_THREADS = 1


@dataclass(frozen=True, slots=True)
class Still:
    """The primary image of a file: how it is coded, its size before it is turned, what is cut off it, its colours."""

    codec: str
    width: int
    height: int
    crop: tuple[float, float, float, float] | None
    profile: bytes | None


_Place = tuple[tuple[int, int], ...]
"""Where some bytes are in the file: the start and the length of each piece."""


class _Stream(NamedTuple):
    """A coded picture; several items may be the same one."""

    kind: bytes
    configuration: _Place
    data: _Place


def opened(raw: bytes, max_pixels: int, large: bool) -> Image.Image:
    """Decode the primary image of a HEIC or AVIF file; `info` has its `icc_profile`, where it is not sRGB.

    A HEIC is upright already; of an AVIF the EXIF orientation says how it is to be turned. In both it is the container
    that counts: EXIF repeats it, and is wrong where it does not. Raises `UnsupportedImage` for other codings,
    `TooManyPixels` and `LargeImage` before memory is taken, `UndecodableImage` for more work than the size says.
    """
    listed = items(raw)
    if listed is None:
        raise UndecodableImage("the HEIC or AVIF file has no still image; a film or a sequence alone is not read")
    still = _still(raw, listed)
    check_pixels(still.width, still.height, max_pixels)
    _check_work(raw, listed, still, max_pixels)
    check_memory(still.width * still.height * _BYTES, large)
    image = _by_libheif(raw) if still.codec == "HEIC" else _by_libavif(raw, still)
    image.info = {key: image.info[key] for key in ("exif",) if still.codec == "AVIF" and key in image.info}
    image.info["icc_profile"] = still.profile
    return image


def _by_libheif(raw: bytes) -> Image.Image:
    image: Image.Image = pi_heif.open_heif(raw, convert_hdr_to_8bit=True).to_pillow()
    return image


def _by_libavif(raw: bytes, still: Still) -> Image.Image:
    # An animation is opened as the still image that it has too: `avis` would make libavif read its first frame, whose
    # size is said elsewhere.
    image = Image.open(BytesIO(raw[:8] + _BOTH + raw[12:]), formats=("AVIF",))
    image.load()
    return image.crop(still.crop) if still.crop else image


def _still(raw: bytes, listed: Items) -> Still:
    primary = listed.all.get(listed.primary, Item())
    size = primary.of(b"ispe")
    if size is None:
        raise UndecodableImage("the HEIC or AVIF file does not say how large its image is")
    parts = [listed.all.get(number, Item()) for number in _uses(listed, listed.primary)]
    kinds = [item.kind for item in parts if item.kind not in _DERIVED]
    codecs = {_CODECS.get(kind) for kind in kinds}
    if len(codecs) != 1 or None in codecs:
        raise _unsupported(kinds)
    width, height = (int.from_bytes(raw[size.start + at : size.start + at + 4], "big") for at in (4, 8))
    crop = primary.of(b"clap")
    return Still(str(codecs.pop()), width, height, crop and _crop(raw, crop, width, height), _profile(raw, parts))


def _unsupported(kinds: list[bytes]) -> UnsupportedImage:
    coding = next((_CODINGS[kind] for kind in kinds if kind in _CODINGS), "something unknown")
    return UnsupportedImage(f"the image in the HEIF file is coded as {coding}; HEVC (HEIC) and AV1 (AVIF) are read")


def _uses(listed: Items, *numbers: int) -> Counter[int]:
    """Count how often items, and all that they are made of, are used. Raises `UndecodableImage` for endless."""
    uses, waiting, seen = Counter[int](), list(numbers), 0
    while waiting:
        number = waiting.pop()
        uses[number] += 1
        waiting += listed.all.get(number, Item()).references.get(b"dimg", ())
        seen += 1
        if seen + len(waiting) > _MOST_PARTS:
            raise too_much_work()
    return uses


def _check_work(raw: bytes, listed: Items, still: Still, max_pixels: int) -> None:
    """Refuse streams of far more pixels than the image has, and what is read or copied many times over.

    However often a stream is used, it is read once, and all that is read is no longer than the file.
    """
    streams = Counter[_Stream]()
    for number, times in _uses(listed, listed.primary, *_alphas(listed)).items():
        if stream := _stream(listed.all.get(number, Item())):
            streams[stream] += times
    places = {place for stream in streams for place in (stream.configuration, stream.data)}
    if sum(length for place in places for _, length in place) > len(raw) or _copied(listed) > _MOST_COPIED:
        raise too_much_work()
    found = {place: b"".join(raw[at : at + length] for at, length in place) for place in places}
    most, units = min(LAYERS * still.width * still.height, 2 * max_pixels) + _SLACK, _MOST_UNITS
    for (kind, configuration, data), times in streams.items():
        read = bitstreams.av1_pixels if kind == b"av01" else bitstreams.hevc_pixels
        announced = list(islice(read(found[configuration], found[data]), units + 1))
        units -= len(announced)
        most -= times * max(announced, default=0)
        if units < 0 or most < 0:
            raise too_much_work()


def _alphas(listed: Items) -> list[int]:
    """Return the items that are an auxiliary image of any part of the primary one: transparency, for one."""
    numbers = {listed.primary, *listed.all.get(listed.primary, Item()).references.get(b"dimg", ())}
    return [number for number, item in listed.all.items() if not numbers.isdisjoint(item.references.get(b"auxl", ()))]


def _stream(item: Item) -> _Stream | None:
    box = item.of(b"av1C" if item.kind == b"av01" else b"hvcC")
    if item.kind not in _CODECS or box is None:
        return None
    return _Stream(item.kind, ((box.start, box.end - box.start),), tuple(item.extents))


def _copied(listed: Items) -> int:
    metadata = (
        item.size * max(1, len(item.references.get(b"cdsc", ())))
        for item in listed.all.values()
        if item.kind not in _CODECS
    )
    profiles = (one.end - one.start for item in listed.all.values() for one in item.properties if one.kind == b"colr")
    return sum(metadata) + sum(profiles)


def _crop(raw: bytes, box: Box, width: int, height: int) -> tuple[float, float, float, float] | None:
    """Return left, top, right and bottom of the clean aperture (ISO/IEC 14496-12, 12.1.4), None if it is nonsense."""
    numbers = [int.from_bytes(raw[at : at + 4], "big", signed=True) for at in range(box.start, box.start + 32, 4)]
    if min(numbers[1::2]) <= 0:
        return None
    wide, high, right, down = (round(top / bottom) for top, bottom in zip(numbers[::2], numbers[1::2], strict=True))
    left, top = round((width - wide) / 2 + right), round((height - high) / 2 + down)
    inside = wide > 0 and high > 0 and 0 <= left <= width - wide and 0 <= top <= height - high
    return (left, top, left + wide, top + high) if inside else None


def _profile(raw: bytes, parts: list[Item]) -> bytes | None:
    """Return the ICC profile, or one for what H.273's code points say; None where they say sRGB or nothing."""
    found = [one for item in parts for one in item.properties if one.kind == b"colr"]
    places = {raw[one.start : one.start + 4]: one for one in reversed(found)}
    colours = {kind: raw[one.start + 4 : one.end] for kind, one in places.items()}
    if icc_profile := colours.get(b"prof") or colours.get(b"rICC"):
        return icc_profile
    if len(points := colours.get(b"nclx", b"")) >= 4:
        return icc.of_code_points(points[1], points[3])
    return None
