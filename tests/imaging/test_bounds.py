"""Honest files of unusual size or build are answered, and what costs more than it says is not."""

import io
import struct
import tracemalloc
import zlib
from contextlib import nullcontext, suppress
from typing import Any

import numpy as np
import pytest
from PIL import Image

from app.config import Settings
from app.errors import TooManyPixels, UndecodableImage, UnsupportedImage
from app.imaging import bounds, decode
from app.imaging.bounds import LargeImage
from app.imaging.codecs import bmp, jpeg, markers, runs
from tests.support import corpus, images
from tests.support.images import encoded, grey_tiff, photo, ramp, tiff

R = 64
DEFAULT = Settings.model_fields["max_pixels"].default


def decoded(data: bytes, max_pixels: int = DEFAULT, **more: Any) -> Any:
    return decode.decode(data, resolution=R, max_pixels=max_pixels, **more).astype(np.int64)


def sized(jpeg_file: bytes, width: int, height: int) -> bytes:
    """Return a JPEG whose frame claims another size."""
    marker = next(at for code, at, _ in markers.segments(jpeg_file) if code in {0xC0, 0xC2})
    return jpeg_file[: marker + 5] + struct.pack(">HH", height, width) + jpeg_file[marker + 9 :]


def cost(data: bytes, max_pixels: int = DEFAULT) -> None:
    jpeg.check(data, markers.header(data), 293, max_pixels, large=True)


PLAIN = encoded(photo(), "JPEG")
PROGRESSIVE = encoded(photo(), "JPEG", progressive=True)
FULL_CHROMA = encoded(photo(), "JPEG", progressive=True, subsampling=0)
USUAL_CHROMA = encoded(photo(), "JPEG", progressive=True, subsampling=2)


@pytest.mark.parametrize("size", [(8160, 6144), (8192, 6144), (12_000, 9_000), (16_320, 12_240)], ids=str)
def test_jpegs_of_large_sensors_are_within_the_default_bound(size: tuple[int, int]) -> None:
    cost(sized(PLAIN, *size))
    cost(sized(USUAL_CHROMA, *size))


def test_a_jpeg_of_50_megapixels_is_answered_by_default() -> None:
    flat = Image.new("RGB", (8192, 6144), (200, 100, 50))
    assert np.abs(decoded(encoded(flat, "JPEG")) - (200, 100, 50)).max() <= 2


def test_the_bound_on_a_jpeg_goes_by_what_it_costs() -> None:
    with pytest.raises(TooManyPixels, match=r"20,000 × 20,000 pixels, and 201,326,592 in all .* such a JPEG"):
        cost(sized(PLAIN, 20_000, 20_000))
    with pytest.raises(TooManyPixels, match=r"16,320 × 12,240 pixels, and 1\d\d,\d+,\d+ in all .* progressive JPEG"):
        cost(sized(FULL_CHROMA, 16_320, 12_240))  # twice the coefficients


def test_a_large_progressive_jpeg_may_have_fewer_scans_than_a_small_one() -> None:
    cost(sized(images.endless_scans(60), 2_000, 1_000), max_pixels=4_000_000)
    cost(sized(images.endless_scans(10), 4_000, 3_900), max_pixels=4_000_000)
    with pytest.raises(UndecodableImage, match="more work"):
        cost(sized(images.endless_scans(60), 4_000, 3_900), max_pixels=4_000_000)


def test_a_progressive_jpeg_is_large_by_its_coefficients() -> None:
    with pytest.raises(LargeImage):
        jpeg.check(
            sized(PROGRESSIVE, 8_192, 6_144), markers.header(sized(PROGRESSIVE, 8_192, 6_144)), 293, DEFAULT, False
        )
    jpeg.check(sized(PLAIN, 8_192, 6_144), markers.header(sized(PLAIN, 8_192, 6_144)), 293, DEFAULT, large=False)


def test_a_jpeg_is_large_by_the_pixels_that_are_left_of_it() -> None:
    long = sized(PLAIN, 40_000, 500)  # too narrow to be scaled while it is decoded
    with pytest.raises(LargeImage):
        jpeg.check(long, markers.header(long), 293, DEFAULT, large=False)
    jpeg.check(long, markers.header(long), 293, DEFAULT, large=True)


@pytest.mark.parametrize(("form", "width"), [("TIFF", 3_000), ("WEBP", 3_000), ("PNG", 4_000)])
def test_an_image_is_large_from_the_pixel_on_that_takes_more_than_144_megabytes(form: str, width: int) -> None:
    def at(height: int) -> bytes:
        match form:
            case "TIFF":
                return grey_tiff(width, height, b"")
            case "WEBP":
                webp = bytearray(encoded(photo(), "WEBP", lossless=False))
                webp[26:30] = struct.pack("<HH", width, height)
                return bytes(webp)
            case _:
                return images.png(width, height, depth=1, colour=0, rows=b"")

    for height, error in ((3_000, UndecodableImage), (3_001, LargeImage)):
        with pytest.raises(error):
            decoded(at(height), large=False)


def test_a_header_may_be_read_in_no_more_than_two_thousand_steps_and_pixels_in_more() -> None:
    file = bounds.Metered(bytes(10))
    for _ in range(2_000):
        file.read(1)
    with pytest.raises(UndecodableImage, match="more work"):
        file.read(1)
    file.header_is_read()
    for _ in range(2_001):
        file.read(1)


def test_what_takes_its_memory_early_is_known_to_be_large_before(monkeypatch: pytest.MonkeyPatch) -> None:
    webp = bytearray(encoded(photo(), "WEBP", lossless=False))
    webp[26:30] = struct.pack("<HH", 4_000, 4_000)
    monkeypatch.setattr(Image, "open", lambda *_, **__: pytest.fail("opened"))
    for data in (bytes(webp), rle(b"\0\1", 5_000, 5_000)):
        with pytest.raises(LargeImage):
            decoded(data, large=False)


@pytest.mark.parametrize("behind", [b"\xff\xda" * 10_000, corpus.noise(2**20)], ids=["marks", "a film"])
def test_what_is_behind_a_photo_or_within_its_profile_is_no_scan(behind: bytes) -> None:
    np.testing.assert_array_equal(decoded(PROGRESSIVE + behind), decoded(PROGRESSIVE))
    hidden = corpus.segment(0xE2, b"ICC_PROFILE\0\1\1" + b"\xff\xda" * 10_000)
    np.testing.assert_array_equal(decoded(PROGRESSIVE[:2] + hidden + PROGRESSIVE[2:]), decoded(PROGRESSIVE))


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_without_its_end_is_answered_if_all_pixels_are_there(mode: str, progressive: bool) -> None:
    data = encoded(corpus.noisy(200, 150).convert(mode), "JPEG", progressive=progressive)
    np.testing.assert_array_equal(decoded(data[:-2]), decoded(data))
    np.testing.assert_array_equal(decoded(data[:-1]), decoded(data))
    for missing in (40, 400, len(data) // 2):
        with pytest.raises(UndecodableImage):
            decoded(data[:-missing])


def with_chunk(kind: bytes, data: bytes, *, at_end: bool = False) -> bytes:
    png = encoded(photo(), "PNG")
    at = len(png) - 12 if at_end else 33
    return png[:at] + corpus.chunk(kind, data) + png[at:]


LONG = zlib.compress(corpus.noise(2_000_000), 1)


@pytest.mark.parametrize("at_end", [False, True])
@pytest.mark.parametrize(
    ("kind", "data"),
    [
        (b"iCCP", b"a\0\0" + LONG),
        (b"zTXt", b"a\0\0" + LONG),
        (b"iTXt", b"a\0\1\0\0\0" + LONG),
        (b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + LONG),
        (b"tEXt", b"a\0" + bytes(2_000_000)),
        (b"iCCP", b"a\0\0" + corpus.packed(2**26)),
    ],
    ids=["profile", "text", "other text", "XMP", "plain text", "bomb"],
)
def test_a_long_text_or_profile_beside_a_picture_is_left_unread(kind: bytes, data: bytes, at_end: bool) -> None:
    np.testing.assert_array_equal(decoded(with_chunk(kind, data, at_end=at_end)), decoded(encoded(photo(), "PNG")))


def test_a_text_that_turns_a_png_is_read() -> None:
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="3"/></x:xmpmeta>'
    turned = with_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp)
    np.testing.assert_array_equal(decoded(turned), decoded(encoded(photo().rotate(180), "PNG")))


@pytest.mark.parametrize("size", [2**20 - 100, 2**20 + 100], ids=["read", "left unread"])
def test_texts_that_turn_a_png_are_unpacked_as_often_as_a_picture_has_some(size: int) -> None:
    text = corpus.chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + corpus.packed(size))
    np.testing.assert_array_equal(decoded(corpus.with_chunks(*[text] * 16)), decoded(encoded(photo(), "PNG")))
    with pytest.raises(UndecodableImage, match="more work"):
        decoded(corpus.with_chunks(*[text] * 17))


def test_a_gif_with_long_xmp_is_answered_and_its_transparency_kept() -> None:
    data = encoded(photo(mode="P"), "GIF", transparency=photo(mode="P").getpixel((20, 20)))
    palette = 13 + 3 * (2 << (data[10] & 7))
    packet = (b"<rdf:Description photoshop:City='Here'/>\n" * 5_000)[:200_000]
    xmp = b"!\xff\x0bXMP DataXMP" + packet + b"\1" + bytes(range(255, -1, -1)) + b"\0"
    np.testing.assert_array_equal(decoded(data[:palette] + xmp + data[palette:]), decoded(data))


@pytest.mark.parametrize("size", [(160, 120), (121, 90), (320, 240)])
@pytest.mark.parametrize("piece", [runs._PIECE, 1000, 20])
def test_a_bmp_in_runs_is_what_it_is_plain(size: tuple[int, int], piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "_PIECE", piece)  # so many codes are laid out at once, and large pictures have more
    image = photo(*size, mode="P")
    np.testing.assert_array_equal(decoded(images.run_length_bmp(image)), decoded(encoded(image, "BMP")))


def rle(codes: bytes, width: int = 8, height: int = 8, bits: int = 8) -> bytes:
    header = struct.pack(
        "<IiiHHIIiiII", 40, width, height, 1, bits, 3 - bits // 4, len(codes), 0, 0, 256 >> (8 - bits), 0
    )
    start = 14 + 40 + 4 * (256 >> (8 - bits))
    palette = b"".join(bytes((shade, shade, shade, 0)) for shade in range(0, 256, 1 if bits == 8 else 17))
    return b"BM" + struct.pack("<IHHI", start + len(codes), 0, 0, start) + header + palette + codes


def test_runs_of_four_bits_jumps_and_blank_rows_are_right() -> None:
    for row in (b"\x08\x0f", b"\x03\x0f\x05\x1e", b"\1\x2a\0\3\xbc\xd0\4\x0f"):
        by_turns = rle((row + b"\0\0") * 8 + b"\0\1", bits=4)
        with Image.open(io.BytesIO(by_turns)) as image:
            np.testing.assert_array_equal(decoded(by_turns), decoded(encoded(image.convert("RGB"), "PNG")))
    bottom = np.zeros((8, 8), np.uint8)
    bottom[7, 3:5], bottom[4] = 200, 100  # a run behind a jump; two rows are left out
    codes = b"\0\2\3\0" + b"\2\xc8" + b"\0\0\0\0\0\0" + b"\x08\x64" + b"\0\0" + b"\0\0" * 4 + b"\0\1"
    np.testing.assert_array_equal(decoded(rle(codes)), decoded(encoded(Image.fromarray(bottom), "PNG")))


@pytest.mark.parametrize("piece", [runs._PIECE, 1])
def test_the_last_row_may_end_early_and_nothing_behind_the_end_shows(
    piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "_PIECE", piece)
    part = np.ones((8, 8), np.uint8)
    part[0, 5:] = 0  # rows come from the bottom up
    codes = b"\x08\x01\0\0" * 7 + b"\5\1\0\1"
    np.testing.assert_array_equal(decoded(rle(codes)), decoded(encoded(Image.fromarray(part), "PNG")))
    np.testing.assert_array_equal(decoded(rle(codes + b"\3\xff")), decoded(rle(codes)))


def test_runs_that_are_cut_off_are_undecodable_and_vast_ones_too_many() -> None:
    with pytest.raises(UndecodableImage):
        decoded(rle(b"\x08\x01\0\0" * 3))
    with pytest.raises(TooManyPixels):
        decoded(rle(b"\0\1", 10_000, 10_000))


def test_a_picture_that_ends_before_its_last_rows_has_the_first_colour_there() -> None:
    part = np.ones((8, 8), np.uint8)
    part[:5] = 0  # rows come from the bottom up
    codes = b"\x08\x01\0\0" * 3 + b"\0\1"
    np.testing.assert_array_equal(decoded(rle(codes)), decoded(encoded(Image.fromarray(part), "PNG")))


def peak_bytes(data: bytes) -> int:
    """Return the most memory that unpacking a BMP takes at once, its own file aside."""
    tracemalloc.start()
    try:
        with suppress(ValueError):
            bmp.unpacked(data, DEFAULT, large=True)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("codes", [b"\0\3", b"\1\1", b"\0\2\0\0", b"\0\0", b"\0\4\0\5\0\5"], ids=bytes.hex)
@pytest.mark.parametrize("bits", [4, 8])
def test_codes_take_no_memory_but_for_a_picture(codes: bytes, bits: int) -> None:
    assert peak_bytes(rle(codes * (600_000 // len(codes)), 64, 64, bits)) < 4_000_000
    assert peak_bytes(rle(codes * (600_000 // len(codes)), 800, 600, bits)) < runs.BYTES * 800 * 600


@pytest.mark.parametrize("bits", [4, 8])
def test_the_longest_honest_codes_are_read_and_what_is_behind_them_is_not(bits: int) -> None:
    shades = np.zeros((30, 40), np.uint8)
    shades[:, -1] = 255
    row = b"\0\2\1\0" * 39 + b"\1\xff" + b"\0\0"  # a jump for each pixel but the last
    data = rle(row * 30 + b"\0\1", 40, 30, bits)
    np.testing.assert_array_equal(decoded(data), decoded(encoded(Image.fromarray(shades), "PNG")))
    np.testing.assert_array_equal(decoded(data + b"\0\3" * 100_000), decoded(data))


def test_codes_without_end_are_read_as_far_as_the_picture_can_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    codes = runs._Codes

    def noted(words: runs.Bytes, at: runs.Numbers) -> Any:
        read.append(len(at))
        return codes(words, at)

    monkeypatch.setattr(runs, "_Codes", noted)
    with pytest.raises(UndecodableImage):
        decoded(rle(b"\0\2\0\0" * 1_000_000, 64, 64))
    assert sum(read) < 3 * 64 * 64


def planar(image: Image.Image, bits: int = 8, order: str = "<", *, unused: int = 0, **tags: Any) -> bytes:
    """Return an unpacked TIFF with a plane for each channel of an image, and behind them so many that mean nothing."""
    values = np.asarray(image).transpose(2, 0, 1)
    values = np.concatenate([values, np.full((unused, *values.shape[1:]), 200, np.uint8)])
    data = values.tobytes() if bits == 8 else (values.astype(np.uint16) * 257).astype(order + "u2").tobytes()
    count, size = len(values), len(data) // len(values)
    offsets: dict[str, Any] = {"t273": [0] * count, "t279": [size] * count, "t258": [bits] * count}
    common: dict[str, Any] = {"t256": 120, "t257": 90, "t259": 1, "t262": 2, "t277": count, "t278": 90, "t284": 2}
    tags = common | offsets | tags
    start = len(tiff(b"", order=order, **tags))
    return tiff(data, order=order, **tags | {"t273": [start + index * size for index in range(count)]})


@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("bits", [8, 16])
def test_separate_planes_of_a_tiff_are_no_noise(bits: int, order: str, alpha: bool) -> None:
    found = decoded(planar(photo(mode="RGBA"), bits, order, t338=2) if alpha else planar(photo(), bits, order))
    assert np.abs(found - decoded(encoded(photo(), "PNG"))).max() <= 1


@pytest.mark.parametrize("unused", [1, 2])
def test_five_and_six_separate_planes_are_no_more_work_than_the_image_says(unused: int) -> None:
    inks = photo(mode="CMYK")
    found = decoded(planar(inks, unused=unused, t262=5, t338=[0] * unused if unused > 1 else 0))
    np.testing.assert_array_equal(found, decoded(encoded(inks, "TIFF")))


@pytest.mark.parametrize(("bits", "order"), [(8, "<"), (8, ">"), (16, "<")])
def test_white_may_be_zero(bits: int, order: str) -> None:
    values = 255 - ramp()
    data = values.tobytes() if bits == 8 else (values.astype(np.uint16) * 257).astype(order + "u2").tobytes()
    inverted = grey_tiff(120, 90, data, bits=bits, order=order, t262=0)
    assert np.abs(decoded(inverted) - decoded(encoded(Image.fromarray(ramp()), "PNG"))).max() <= 1


@pytest.mark.parametrize("lies", range(1, 9))
@pytest.mark.parametrize("big", [False, True], ids=["TIFF", "BigTIFF"])
@pytest.mark.parametrize("rows", [1, 7, 900])
@pytest.mark.parametrize("size", [(40, 900), (900, 40)], ids=str)
def test_strips_go_by_the_height_in_the_file_however_it_lies(
    size: tuple[int, int], rows: int, big: bool, lies: int
) -> None:
    image = photo(*size)
    data = encoded(image, "TIFF", big_tiff=big, tiffinfo={274: lies, 278: rows})
    assert np.abs(decoded(data) - decoded(encoded(image, "PNG", exif=images.orientation(lies)))).max() <= 1


def test_strips_that_lie_on_one_another_are_refused_however_wide_the_image_is() -> None:
    for width, height, lies in ((900, 40, 6), (900, 40, 1), (40, 900, 6)):
        data = bytes(width * height)
        for layers, error in ((8, None), (9, UndecodableImage)):
            many: dict[str, Any] = {"t273": [-1] * layers, "t279": [len(data)] * layers, "t274": lies}
            file = grey_tiff(width, height, data, t278=height, **many)
            with pytest.raises(error, match="more work") if error else nullcontext():
                decoded(file)


def tiled(width: int, height: int, side: int, *, large: bool) -> Any:
    """Decode a black TIFF of deflated tiles that are all the same bytes."""
    tiles = -(-width // side) * -(-height // side)
    data = corpus.packed(side * side)
    tags: dict[str, Any] = {"t324": [-1] * tiles, "t325": [len(data)] * tiles, "t322": side, "t323": side}
    size = {"t256": width, "t257": height, "t258": 8, "t259": 8, "t262": 1, "t277": 1}
    return decoded(
        tiff(data, **{name: value[0] if value == [-1] else value for name, value in (size | tags).items()}), large=large
    )


@pytest.mark.parametrize(("size", "side"), [((16, 16), 2_048), ((1, 4_000), 256), ((4_000, 1), 256), ((600, 500), 512)])
def test_tiles_may_be_larger_than_what_is_left_of_a_small_or_thin_image(size: tuple[int, int], side: int) -> None:
    assert tiled(*size, side, large=False).max() == 0


def test_a_tile_that_is_larger_than_its_image_is_what_takes_the_memory() -> None:
    assert tiled(2_000, 1_500, 3_000, large=False).max() == 0
    with pytest.raises(LargeImage):
        tiled(2_000, 1_500, 3_001, large=False)


@pytest.mark.parametrize("big", [False, True], ids=["TIFF", "BigTIFF"])
def test_tags_may_have_as_many_bytes_as_the_file(big: bool) -> None:
    notes = {40_000: b"x" * 200_000, 40_001: (1, 2) * 1_000}
    data = encoded(photo(), "TIFF", big_tiff=big, tiffinfo=notes, compression="tiff_deflate")
    np.testing.assert_array_equal(decoded(data), decoded(encoded(photo(), "PNG")))


def test_unsigned_pixels_of_32_bits_are_scaled_by_their_range() -> None:
    data = (ramp().astype(np.uint32) << 24).astype("<u4").tobytes()
    wanted = decoded(encoded(Image.fromarray(ramp()), "PNG"))
    assert np.abs(decoded(grey_tiff(120, 90, data, bits=32)) - wanted).max() <= 1


def test_a_tiff_of_floats_has_no_range() -> None:
    with pytest.raises(UnsupportedImage):
        decoded(grey_tiff(8, 8, np.full(64, 0.5, "<f4").tobytes(), bits=32, t339=3))
