"""What decoding the image of a HEIF file takes, found out from its boxes and its coded streams before it is decoded.

The decoders trust what a file says of itself: how large an image is, what it is made of, and how often.
"""

import struct
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping
from itertools import islice
from typing import Final, NamedTuple

from app.errors import UnsupportedImage
from app.imaging.bounds import LAYERS, check_memory, too_much_work
from app.imaging.codecs.heif import bitstreams
from app.imaging.codecs.heif.boxes import FLAGS, Box, Item, Items

CODECS: Final = {b"hvc1": "HEIC", b"hev1": "HEIC", b"av01": "AVIF"}
GRID: Final = b"grid"
DERIVED: Final = frozenset((GRID, b"iovl", b"iden"))
"""Kinds of items that are made of other items: of tiles, of images that lie over one another, of one image."""

_TRANSPARENCY: Final = frozenset(
    (b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha", b"urn:mpeg:hevc:2015:auxid:1", b"urn:mpeg:avc:2015:auxid:1")
)
"""What the decoders take for transparency; of auxiliary images it is the only one that they decode."""

_BYTES: Final = 11  # that a pixel of 8 bits a colour takes while it is decoded, measured
_MORE_BYTES: Final = 16  # that it takes with transparency, or with more bits
_PICTURES: Final = 2  # times `max_pixels`: all pictures together, for an image and its transparency
_PAINTED: Final = 4  # times `max_pixels`: these with their later slices, of which there may be a dozen
_SLACK: Final = 2**20  # pixels that even the smallest image may have: codecs work on blocks
_MOST_PARTS: Final = 10_000  # of an image and its transparency; a grid of 200 megapixels has 800
_MOST_UNITS: Final = 20_000  # of all their streams; a part has a handful
_MOST_COPIED: Final = 64 * 2**20  # bytes that libheif copies beside pictures: EXIF and profiles, for each image
_LAYOUT_BYTES: Final = 12  # of a grid, at most

_Place = tuple[tuple[int, int], ...]
"""Where some bytes are in the file: the start and the length of each piece."""


class _Stream(NamedTuple):
    """A coded picture; several items may be the same one."""

    kind: bytes
    configuration: _Place
    data: _Place


def check(raw: bytes, listed: Items, area: int, max_pixels: int, large: bool) -> None:
    """Refuse an image that takes far more than its `area`, in pixels, says: it, what it is made of, its transparency.

    Raises `UndecodableImage` for it, `UnsupportedImage` for images over one another, whose size nothing bounds, and
    what `check_memory` raises.
    """
    alone, together = uses(listed), uses(listed, _transparency(raw, listed))
    used = [(listed.all.get(number, Item()), times) for number, times in together.items()]
    if any(item.kind == b"iovl" for item, _ in used):
        raise UnsupportedImage("the HEIF file lays several images over one another, which is not read; save it as one")
    streams = {stream for item, _ in used if (stream := _stream(item))}
    if sum(map(_length, _places(streams))) > len(raw) or _copied(listed) > _MOST_COPIED:
        raise too_much_work()
    most = min(LAYERS * area, _PICTURES * max_pixels), min(LAYERS * area, _PAINTED * max_pixels)
    largest = _check_pixels(raw, used, _painted(raw, streams), *most)
    plain = len(alone) == len(together) and not any(_has_more_bits(raw, item) for item, _ in used)
    check_memory(max(area, largest) * (_BYTES if plain else _MORE_BYTES), large)


def uses(listed: Items, beside: Mapping[int, Collection[int]] | None = None) -> Counter[int]:
    """Count how often the primary image, all that it is made of, and what is `beside` any of that are used.

    Raises `UndecodableImage` where that has no end.
    """
    found, waiting, seen = Counter[int](), [listed.primary], 0
    while waiting:
        number = waiting.pop()
        found[number] += 1
        waiting += listed.all.get(number, Item()).references.get(b"dimg", ())
        waiting += (beside or {}).get(number, ())
        seen += 1
        if seen + len(waiting) > _MOST_PARTS:
            raise too_much_work()
    return found


def canvas(raw: bytes, grid: Item) -> tuple[int, int]:
    """Return the width and the height that the layout of a grid gives it (ISO/IEC 23008-12, 6.6.2.3)."""
    layout = b"".join(raw[at : at + min(length, _LAYOUT_BYTES)] for at, length in grid.extents)
    width, height = struct.unpack_from(">4xII" if layout[1] & 1 else ">4xHH", layout)
    return width, height


def _transparency(raw: bytes, listed: Items) -> dict[int, set[int]]:
    """Return for each item the images that say how transparent it is.

    The other auxiliary images, such as gain maps, depth maps and mattes, are not decoded.
    """
    found: defaultdict[int, set[int]] = defaultdict(set)
    for number, item in listed.all.items():
        if not any(_is_transparency(raw, box) for box in item.properties):
            continue
        for target in item.references.get(b"auxl", ()):
            found[target].add(number)
    return found


def _is_transparency(raw: bytes, box: Box) -> bool:
    return box.kind == b"auxC" and raw[box.start + FLAGS : box.end].partition(b"\0")[0] in _TRANSPARENCY


def _stream(item: Item) -> _Stream | None:
    box = item.of(b"av1C" if item.kind == b"av01" else b"hvcC")
    if item.kind not in CODECS or box is None:
        return None
    return _Stream(item.kind, ((box.start, box.end - box.start),), tuple(item.extents))


def _places(streams: Collection[_Stream]) -> set[_Place]:
    """Return where streams are; however often one of them is used, it is read once."""
    return {place for stream in streams for place in (stream.configuration, stream.data)}


def _length(place: _Place) -> int:
    return sum(length for _, length in place)


def _copied(listed: Items) -> int:
    metadata = (
        item.size * max(1, len(item.references.get(b"cdsc", ())))
        for item in listed.all.values()
        if item.kind not in CODECS
    )
    profiles = (one.end - one.start for item in listed.all.values() for one in item.properties if one.kind == b"colr")
    return sum(metadata) + sum(profiles)


def _painted(raw: bytes, streams: Collection[_Stream]) -> dict[_Stream | None, list[bitstreams.Painted]]:
    """Return what each unit of each stream paints. Raises `UndecodableImage` for very many units."""
    pieces = {place: b"".join(raw[at : at + length] for at, length in place) for place in _places(streams)}
    found: dict[_Stream | None, list[bitstreams.Painted]] = {}
    left = _MOST_UNITS
    for stream in streams:
        read = bitstreams.av1_pixels if stream.kind == b"av01" else bitstreams.hevc_pixels
        found[stream] = list(islice(read(pieces[stream.configuration], pieces[stream.data]), left + 1))
        left -= len(found[stream])
        if left < 0:
            raise too_much_work()
    return found


def _check_pixels(
    raw: bytes,
    used: Collection[tuple[Item, int]],
    painted: Mapping[_Stream | None, list[bitstreams.Painted]],
    most: int,
    most_painted: int,
) -> int:
    """Return the pixels of the largest item; refuse more than so many of all pictures, or of all grids together.

    With the later slices of the pictures there may be `most_painted`.
    """
    largest, again, totals = 0, 0, Counter[bool]()
    for item, times in used:
        said = max(_said(raw, item), default=0)
        units = painted.get(_stream(item), [])
        pictures = [unit.anew for unit in units]
        again += times * sum(unit.again for unit in units)
        totals[item.kind in DERIVED] += times * max(said, sum(pictures))
        largest = max(largest, said, *pictures)
    if max(totals.values()) > most + _SLACK or totals[False] + again > most_painted + _SLACK:
        raise too_much_work()
    return largest


def _said(raw: bytes, item: Item) -> Iterator[int]:
    """Yield how many pixels an item that is decoded says that it has; libavif scales a picture to what it says."""
    if item.kind not in CODECS and item.kind not in DERIVED:
        return
    for one in item.properties:
        if one.kind == b"ispe":
            width, height = struct.unpack_from(">4xII", raw, one.start)
            yield width * height
    if item.kind == GRID:
        width, height = canvas(raw, item)
        yield width * height


def _has_more_bits(raw: bytes, item: Item) -> bool:
    """Whether the container says that a picture has more than 8 bits a colour.

    If it is silent about them, decoding takes no more than half as much memory again.
    """
    if item.kind == b"av01":
        box = item.of(b"av1C")
        return box is not None and bool(raw[box.start + 2] & 0x40)
    box = item.of(b"hvcC")
    return box is not None and bool((raw[box.start + 17] | raw[box.start + 18]) & 7)
