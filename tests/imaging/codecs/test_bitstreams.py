"""What a stream paints is found wherever the standards allow its size to be, whatever comes before it."""

import struct
from itertools import product

import pytest

from app.imaging.codecs.heif.bitstreams import Bits, Painted, av1_pixels, hevc_pixels
from tests.support.heif import golomb

WIDTH, HEIGHT = 1_000, 700
NOTHING, PICTURE = Painted(), Painted(anew=WIDTH * HEIGHT)


def number(value: int, bits: int) -> str:
    return f"{value:0{bits}b}"


def packed(bits: str) -> bytes:
    bits += "1" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


def av1_sequence(*, interval: bool, model: bool, display: bool, points: int) -> bytes:
    """Return a sequence header of AV1 (5.5.1) that is not that of a still picture."""
    bits = "000" + "0" + "0" + "1" + "1" * 64  # profile, still, reduced; how long a tick lasts
    bits += "1" + golomb(5) if interval else "0"
    bits += "1" + number(9, 5) + "1" * (32 + 5 + 5) if model else "0"
    bits += str(int(display)) + number(points - 1, 5)
    for point in range(points):
        level = 9 if point % 2 else 5
        bits += "1" * 12 + number(level, 5) + ("1" if level > 7 else "")
        bits += "1" + "1" * (2 * 10 + 1) if model else ""
        bits += "1" + "1" * 4 if display else ""
    bits += number(10, 4) + number(9, 4) + number(WIDTH - 1, 11) + number(HEIGHT - 1, 10)
    return packed(bits)


@pytest.mark.parametrize(
    ("interval", "model", "display", "points"), [*product([False, True], [False, True], [False, True], [1, 3])]
)
def test_the_times_and_levels_of_av1_are_passed_over(interval: bool, model: bool, display: bool, points: int) -> None:
    header = av1_sequence(interval=interval, model=model, display=display, points=points)
    frame = bytes([6 << 3])
    extended = bytes([1 << 3 | 4 | 2, 0, len(header)]) + header
    long = bytes([1 << 3 | 2, 0x80 | len(header), 0]) + header
    for configuration, data in (
        (b"", obu(1, header) + frame),
        (bytes(4) + obu(1, header), frame),
        (b"", extended + frame),
        (b"", long + frame),
    ):
        assert [*av1_pixels(configuration, data)] == [NOTHING, PICTURE]


def obu(kind: int, content: bytes) -> bytes:
    """Return a unit of AV1 that says how long it is (5.3)."""
    return bytes([kind << 3 | 2, len(content)]) + content


def test_each_frame_of_av1_counts_and_nothing_else_does() -> None:
    header = obu(1, av1_sequence(interval=False, model=False, display=False, points=1))
    delimiter, frame_header, tiles, metadata, frame, again, padding = (
        obu(kind, b"x") for kind in (2, 3, 4, 5, 6, 7, 15)
    )
    found = av1_pixels(b"", header + delimiter + frame_header + tiles + metadata + frame + again + padding)
    assert [*found] == [PICTURE if paints else NOTHING for paints in (0, 0, 1, 0, 0, 1, 1, 0)]


def hevc_sequence(*, layers: int, chroma: int, width: int = WIDTH, height: int = HEIGHT) -> bytes:
    """Return a sequence parameter set of HEVC (7.3.2.2): its kind is 33, its layer 0."""
    bits = "0" * 4 + number(layers, 3) + "1" + "10" * 44 + "1" * 8
    bits += "".join("11" if layer % 2 else "01" for layer in range(layers)) + "00" * (8 - layers if layers else 0)
    bits += "".join("1" * (96 if layer % 2 else 8) for layer in range(layers))
    bits += golomb(0) + golomb(chroma) + ("1" if chroma == 3 else "") + golomb(width) + golomb(height)
    return b"\x42\x01" + packed(bits)


@pytest.mark.parametrize(("layers", "chroma"), [*product([0, 1, 3, 7], [1, 3])])
def test_the_layers_and_the_chroma_of_hevc_are_passed_over(layers: int, chroma: int) -> None:
    sequence = hevc_sequence(layers=layers, chroma=chroma)
    other = b"\x40\x01" + bytes(8)
    head = bytes(21) + b"\3"
    arrays = b"\x20" + struct.pack(">HH", 1, len(other)) + other
    many = b"\x21" + struct.pack(">H", 300) + (struct.pack(">H", len(other)) + other) * 299
    configured = head + b"\2" + arrays + many + struct.pack(">H", len(sequence)) + sequence
    assert [*hevc_pixels(configured, nal(FIRST_SLICE))] == [NOTHING] * 301 + [PICTURE]
    assert [*hevc_pixels(head + b"\0", nal(other, sequence, FIRST_SLICE))] == [NOTHING, NOTHING, PICTURE]
    assert not [*hevc_pixels(head + b"\0", b"")]


FIRST_SLICE, LATER_SLICE = b"\x28\x01\xaf", b"\x28\x01\x2f"
PLAIN = bytes(21) + b"\3\0"


def nal(*units: bytes) -> bytes:
    """Return a stream of units of HEVC, each behind its length."""
    return b"".join(struct.pack(">I", len(unit)) + unit for unit in units)


def test_each_slice_after_the_first_is_counted_as_a_quarter_of_the_picture() -> None:
    sequence = hevc_sequence(layers=0, chroma=1)
    other_layer = b"\x28\x09\xaf"
    units = nal(sequence, FIRST_SLICE, LATER_SLICE, LATER_SLICE, other_layer, b"\x28", b"\x4e\x01\xff")
    quarter = Painted(again=WIDTH * HEIGHT // 4)
    assert [*hevc_pixels(PLAIN, units)] == [NOTHING, PICTURE, quarter, quarter, NOTHING, NOTHING, NOTHING]


def test_the_largest_size_counts_that_a_stream_announces() -> None:
    large, small = hevc_sequence(layers=0, chroma=1), hevc_sequence(layers=0, chroma=1, width=8, height=8)
    assert max(hevc_pixels(PLAIN, nal(large, small, FIRST_SLICE))) == PICTURE


def test_a_number_without_end_is_refused_by_its_first_bits() -> None:
    assert Bits(packed("0" * 32 + "1" + "0" * 32)).golomb() == 2**32 - 1
    endless = Bits(bytes(256))
    with pytest.raises(ValueError, match="more than 32 bits"):
        endless.golomb()
    assert endless.take(8 * 256 - 33) == 0
    with pytest.raises(EOFError):
        endless.take(1)
