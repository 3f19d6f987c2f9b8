"""How many pixels a coded stream paints, by the stream itself: what a container says of it may be a lie."""

from collections.abc import Iterator
from itertools import chain
from typing import Final, NamedTuple

_HEAD_BYTES: Final = 256  # of a unit: more than it takes to the size
_HEVC_SEQUENCE: Final = 33
_HEVC_SLICES: Final = range(32)
_LATER_SLICE: Final = 4
"""Each slice of a picture may paint all of it, and an honest picture may have a dozen of them: each slice after the
first is counted as a quarter of the picture."""
_AV1_SEQUENCE: Final = 1
_AV1_FRAMES: Final = (3, 6, 7)  # the header of a frame, a frame with its header, and a header said again
_MOST_ZEROS: Final = 32  # before a number in exponential Golomb code


class Bits:
    """Reads a stream bit by bit. Raises `EOFError` at its end."""

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data, "big")
        self._left = 8 * len(data)

    def take(self, count: int) -> int:
        """Return the next bits as an unsigned number."""
        self._left -= count
        if self._left < 0:
            raise EOFError
        return self._value >> self._left & ((1 << count) - 1)

    def golomb(self) -> int:
        """Return the next number in exponential Golomb code. Raises `ValueError` for one of more than 32 bits."""
        zeros = 0
        while not self.take(1):
            zeros += 1
            if zeros > _MOST_ZEROS:
                raise ValueError("a number of more than 32 bits")
        return (1 << zeros) - 1 + self.take(zeros)


class Painted(NamedTuple):
    """How many pixels a unit of a stream paints: of a new picture, or by a later slice of the one before."""

    anew: int = 0
    again: int = 0


def hevc_pixels(configuration: bytes, data: bytes) -> Iterator[Painted]:
    """Yield for each unit of an HEVC stream what it paints: nothing for most kinds.

    `configuration` is the `hvcC` property (ISO/IEC 14496-15, 8.3.3.1), `data` the item itself. A stream may have as
    many units as it has bytes.
    """
    width = (configuration[21] & 3) + 1
    size = 0
    for unit in chain(_configured(configuration), _prefixed(data, width)):
        kind, painted = _hevc_kind(unit), Painted()
        if kind == _HEVC_SEQUENCE:
            size = max(size, _hevc_picture(unit))
        elif kind in _HEVC_SLICES:
            begins = unit[2] & 128
            painted = Painted(anew=size) if begins else Painted(again=size // _LATER_SLICE)
        yield painted


def av1_pixels(configuration: bytes, data: bytes) -> Iterator[Painted]:
    """Yield the same of an AV1 stream; `configuration` is the `av1C` property."""
    size = 0
    for kind, unit in chain(_obus(configuration[4:]), _obus(data)):
        if kind == _AV1_SEQUENCE:
            size = max(size, _av1_picture(unit))
        yield Painted(size if kind in _AV1_FRAMES else 0)


def _configured(configuration: bytes) -> Iterator[bytes]:
    at = 23
    for _ in range(configuration[22]):
        count = int.from_bytes(configuration[at + 1 : at + 3], "big")
        at += 3
        for _ in range(count):
            size = int.from_bytes(configuration[at : at + 2], "big")
            yield configuration[at + 2 : at + 2 + min(size, _HEAD_BYTES)]
            at += 2 + size


def _prefixed(data: bytes, width: int) -> Iterator[bytes]:
    at = 0
    while at + width < len(data):
        size = int.from_bytes(data[at : at + width], "big")
        yield data[at + width : at + width + min(size, _HEAD_BYTES)]
        at += width + size


def _hevc_kind(unit: bytes) -> int | None:
    """Return the kind of a unit; None for any but the base layer, the only one that is decoded, and for empty ones."""
    kind, layer = (int.from_bytes(unit[:2], "big") >> shift & 63 for shift in (9, 3))
    return kind if len(unit) > 2 and layer == 0 else None


def _obus(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the kind and the first bytes of each unit (AV1, 5.3)."""
    at = 0
    while at < len(data):
        head = data[at]
        at += 2 if head & 4 else 1
        size = len(data) - at
        if head & 2:
            size, at = _leb128(data, at)
        yield head >> 3 & 15, data[at : at + min(size, _HEAD_BYTES)]
        at += size


def _leb128(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for index in range(8):
        value |= (data[at + index] & 127) << 7 * index
        if data[at + index] < 128:
            return value, at + index + 1
    raise ValueError("a size of more than 8 bytes")


def _hevc_picture(unit: bytes) -> int:
    """Return the pixels of a sequence parameter set (ITU-T H.265, 7.3.2.2)."""
    bits = Bits(unit[2:].replace(b"\0\0\3", b"\0\0"))
    bits.take(4)
    layers = bits.take(3)
    bits.take(1 + 88 + 8)  # nesting, the profile and its level
    present = [(bits.take(1), bits.take(1)) for _ in range(layers)]
    bits.take(2 * (8 - layers) if layers else 0)
    for profile, level in present:
        bits.take(88 * profile + 8 * level)
    bits.golomb()
    if bits.golomb() == 3:  # chroma in full
        bits.take(1)
    return bits.golomb() * bits.golomb()


def _av1_picture(unit: bytes) -> int:
    """Return the most pixels that a sequence header allows (AV1, 5.5.1)."""
    bits = Bits(unit)
    bits.take(4)
    if bits.take(1):  # the short header of a still picture
        bits.take(5)
    else:
        _skip_operating_points(bits)
    widths = bits.take(4) + 1, bits.take(4) + 1
    return (bits.take(widths[0]) + 1) * (bits.take(widths[1]) + 1)


def _skip_operating_points(bits: Bits) -> None:
    delays = model = 0
    if bits.take(1):  # timing
        bits.take(64)
        if bits.take(1):
            bits.golomb()
        model = bits.take(1)
        if model:
            delays = bits.take(5) + 1
            bits.take(32 + 5 + 5)
    display = bits.take(1)
    for _ in range(bits.take(5) + 1):
        bits.take(12)
        if bits.take(5) > 7:
            bits.take(1)
        if model and bits.take(1):
            bits.take(2 * delays + 1)
        if display and bits.take(1):
            bits.take(4)
