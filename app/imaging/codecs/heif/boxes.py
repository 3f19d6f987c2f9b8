"""The boxes that a HEIF file consists of (ISO/IEC 14496-12): what its items are, and where.

A HEIC or AVIF file is a list of items: images, parts of images, EXIF. Properties such as a size belong to items, and
references between items say which image is made of which.
"""

import struct
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Final, NamedTuple

from app.imaging.bounds import too_much_work

_MOST_BOXES: Final = 4_000  # in one box; libheif reads no more than 1,000 items
_MOST_NUMBERS: Final = 200_000  # in all of these boxes
FLAGS: Final = 4  # bytes of version and flags
_LISTS: Final = frozenset((b"pitm", b"iinf", b"iref", b"iprp", b"iloc", b"idat"))
_WIDTHS: Final = frozenset((0, 4, 8))  # bytes of a number in `iloc`


class Box(NamedTuple):
    """What kind a box is of, and where its content starts and ends."""

    kind: bytes
    start: int
    end: int


@dataclass(slots=True)
class Item:
    """One item: what it is, its properties, its bytes as places in the file, and the items that it refers to."""

    kind: bytes = b""
    properties: list[Box] = field(default_factory=list)
    extents: list[tuple[int, int]] = field(default_factory=list)
    references: dict[bytes, list[int]] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """How many bytes it has."""
        return sum(length for _, length in self.extents)

    def of(self, *kinds: bytes) -> Box | None:
        """Return its first property of these kinds."""
        return next((one for one in self.properties if one.kind in kinds), None)


@dataclass(frozen=True, slots=True)
class Items:
    """All items of a file by their numbers, and the number of the primary one: the image to show."""

    primary: int
    all: dict[int, Item]


class Reader:
    """Reads big-endian numbers of a file, only so many."""

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self.at = 0
        self._left = _MOST_NUMBERS

    def seek(self, at: int) -> "Reader":
        """Go on from another place."""
        self.at = at
        return self

    def number(self, size: int) -> int:
        """Return an unsigned number of `size` bytes; 0 for none.

        Raises `EOFError` behind the end of the file, `UndecodableImage` once many thousands were read.
        """
        self._left -= 1
        if self._left < 0:
            raise too_much_work()
        value = self.raw[self.at : self.at + size]
        if len(value) < size:
            raise EOFError
        self.at += size
        return int.from_bytes(value, "big")


def boxes(raw: bytes, start: int, end: int, *, strict: bool = True) -> Iterator[Box]:
    """Yield the boxes between two places. Raises `UndecodableImage` where there are thousands.

    A `strict` reader raises `ValueError` for a box that is shorter than its head. Otherwise such a box is passed over,
    so that bytes behind the last box of a file do no harm.
    """
    found = _boxes(raw, start, end, strict)
    yield from islice(found, _MOST_BOXES)
    if next(found, None):
        raise too_much_work()


def _boxes(raw: bytes, start: int, end: int, strict: bool) -> Iterator[Box]:
    while start + 8 <= end:
        size, kind = struct.unpack_from(">I4s", raw, start)
        head = 8
        if size == 1 and start + 16 <= end:  # too large for 32 bits
            (size,) = struct.unpack_from(">Q", raw, start + 8)
            head = 16
        elif size == 0:
            size = end - start
        if strict and size < head:
            raise ValueError(f"a box {kind!r} of {size} bytes")
        yield Box(kind, start + head, min(start + size, end))
        start += size


def single(found: Iterable[Box], kinds: Collection[bytes]) -> dict[bytes, Box]:
    """Return the boxes of these kinds. Raises `ValueError` for two of a kind, of which each decoder reads another."""
    listed = [box for box in found if box.kind in kinds]
    unique = {box.kind: box for box in listed}
    if len(unique) < len(listed):
        raise ValueError("two boxes of a kind of which there is one")
    return unique


def items(raw: bytes) -> Items | None:
    """Return what the file's `meta` box lists; None where it has none, as a film has not.

    Raises `ValueError` for what contradicts itself, and `UndecodableImage` for lists without end.
    """
    meta = single(boxes(raw, 0, len(raw), strict=False), (b"meta",)).get(b"meta")
    inner = single(boxes(raw, meta.start + FLAGS, meta.end), _LISTS) if meta else {}
    if b"pitm" not in inner:
        return None
    found: defaultdict[int, Item] = defaultdict(Item)
    reader = Reader(raw)
    for kind, read in _READERS.items():
        if kind in inner:
            read(reader, inner[kind], found)
    if b"iloc" in inner:
        _places(reader, inner[b"iloc"], inner[b"idat"].start if b"idat" in inner else 0, found)
    wide = raw[inner[b"pitm"].start] > 0
    return Items(reader.seek(inner[b"pitm"].start + FLAGS).number(4 if wide else 2), dict(found))


def _kinds(reader: Reader, box: Box, found: dict[int, Item]) -> None:
    """Read `iinf`: of what kind each item is."""
    raw = reader.raw
    count = 2 if raw[box.start] == 0 else 4
    for entry in boxes(raw, box.start + FLAGS + count, box.end):
        version = raw[entry.start]
        if entry.kind == b"infe" and version >= 2:
            item = found[reader.seek(entry.start + FLAGS).number(2 if version == 2 else 4)]
            if item.kind:
                raise ValueError("an item of two kinds")
            item.kind = raw[reader.at + 2 : reader.at + 6]


def _references(reader: Reader, box: Box, found: dict[int, Item]) -> None:
    """Read `iref`: which items each refers to."""
    width = 2 if reader.raw[box.start] == 0 else 4
    for entry in boxes(reader.raw, box.start + FLAGS, box.end):
        item = found[reader.seek(entry.start).number(width)]
        item.references.setdefault(entry.kind, []).extend(reader.number(width) for _ in range(reader.number(2)))


def _properties(reader: Reader, box: Box, found: dict[int, Item]) -> None:
    """Read `iprp`: the properties, and which of them each item has."""
    parts = list(boxes(reader.raw, box.start, box.end))
    container = single(parts, (b"ipco",)).get(b"ipco")
    properties = list(boxes(reader.raw, container.start, container.end)) if container else []
    for part in parts:
        if part.kind == b"ipma":
            _associations(reader, part, properties, found)


def _associations(reader: Reader, box: Box, properties: list[Box], found: dict[int, Item]) -> None:
    wide_items, wide_indices = reader.raw[box.start] > 0, reader.raw[box.start + 3] & 1
    for _ in range(reader.seek(box.start + FLAGS).number(4)):
        item = found[reader.number(4 if wide_items else 2)]
        for _ in range(reader.number(1)):
            index = reader.number(2) & 0x7FFF if wide_indices else reader.number(1) & 0x7F
            if 0 < index <= len(properties):
                item.properties.append(properties[index - 1])


def _places(reader: Reader, box: Box, idat: int, found: dict[int, Item]) -> None:
    """Read `iloc`: where the bytes of each item are."""
    version = reader.raw[box.start]
    sizes = reader.seek(box.start + FLAGS).number(2)
    offset, length, base, index = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
    index = index if version else 0
    if not _WIDTHS.issuperset((offset, length, base, index)):
        raise ValueError("numbers of a width that there is not")
    for _ in range(reader.number(2 if version < 2 else 4)):
        item = found[reader.number(2 if version < 2 else 4)]
        if item.extents:
            raise ValueError("an item in two places")
        method = reader.number(2) & 15 if version else 0
        reader.at += 2  # which file: always this one
        start = reader.number(base) + (idat if method == 1 else 0)
        for _ in range(reader.number(2)):
            reader.at += index
            at, size = start + reader.number(offset), reader.number(length)
            item.extents.append((at, max(0, min(size, len(reader.raw) - at))))  # a file may have been cut off


_READERS: Final = {b"iinf": _kinds, b"iref": _references, b"iprp": _properties}
