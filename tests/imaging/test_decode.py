"""What a caller may rely on when sending an image, and what hostile bytes cannot do."""

import io
import os
import re
import struct
import subprocess
import sys
import warnings
import zlib
from array import array
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageFile, UnidentifiedImageError
from PIL.Image import Transpose

from app.errors import EmptyImage, ServiceError, TooManyPixels, UndecodableImage, UnsupportedImage
from app.imaging import decode as decoding
from app.imaging.bounds import LargeImage
from app.imaging.codecs import icc
from app.imaging.formats import FORMATS
from app.imaging.pixels import flat
from tests.support import corpus, heif, images, needs
from tests.support.data import REPOSITORY, samples
from tests.support.images import WRITTEN, encoded, grey_tiff, photo, png, ramp

# pytest puts its own filters over the module's; test_what_is_wrong_with_a_file_is_never_printed sees the module's.

Pixels = NDArray[np.uint8]
R = 64
LOSSY = {"JPEG": 3, "GIF": 12, "HEIC": 1, "AVIF": 2}  # mean levels lost by the file itself
VALID = {form: heif.heic() if form == "HEIC" else encoded(photo(), form) for form in FORMATS}
ODD = {
    "JPEG grey": encoded(photo(mode="L"), "JPEG"),
    "JPEG CMYK": encoded(photo(mode="CMYK"), "JPEG"),
    "JPEG progressive": encoded(photo(), "JPEG", progressive=True),
    "JPEG turned": encoded(photo(), "JPEG", exif=images.orientation(6)),
    "PNG palette": encoded(photo(mode="P"), "PNG"),
    "PNG alpha": encoded(photo(mode="RGBA"), "PNG"),
    "WEBP lossy": encoded(photo(mode="RGBA"), "WEBP", lossless=False),
    "WEBP animated": encoded(photo(), "WEBP", save_all=True, append_images=[photo().rotate(90)]),
    "TIFF packed": encoded(photo(), "TIFF", compression="tiff_lzw"),
    "TIFF turned": encoded(photo(), "TIFF", exif=images.orientation(6)),
    "TIFF grey": grey_tiff(60, 40, bytes(60 * 40)),
    "HEIC transparent": heif.transparent_heic(),
    "HEIC of tiles": heif.heif(heif.grid(2, 2, heif.picture(), 240, 180, heif.rotated(1))),
    "AVIF animated": encoded(photo(), "AVIF", save_all=True, append_images=[photo().rotate(90)]),
    "AVIF turned": heif.avif(photo(), heif.rotated(1)),
    "BMP in runs": images.run_length_bmp(photo(mode="P")),
    "PNG in Display P3": encoded(photo(), "PNG", icc_profile=icc.of_code_points(12, 13)),
}


def decode(data: bytes, resolution: int = R, max_pixels: int = 10**8) -> Pixels:
    return decoding.decode(data, resolution=resolution, max_pixels=max_pixels)


def reference(image: Image.Image, resolution: int = R) -> Pixels:
    """The pixels promised for an RGB image, without a shortcut."""
    width, height = image.size
    side = 0.875 * min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    small = image.resize((resolution, resolution), Image.Resampling.BILINEAR, (left, top, left + side, top + side))
    return np.asarray(small)


def distance(first: Pixels, second: Pixels) -> Any:
    return np.abs(first.astype(np.int64) - second)


def is_well_formed(pixels: Pixels, resolution: int) -> bool:
    shape: tuple[int, ...] = pixels.shape
    return shape == (resolution, resolution, 3) and pixels.dtype == np.uint8 and pixels.flags.c_contiguous


def on_white(image: Image.Image) -> Image.Image:
    rgba = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")


def run(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-c", script, *arguments]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=False)


# Any of the formats becomes the same pixels.


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_becomes_rgb_pixels_of_the_resolution(form: str) -> None:
    pixels = decode(VALID[form])
    assert is_well_formed(pixels, R)
    assert distance(pixels, reference(photo())).mean() <= LOSSY.get(form, 0)


@pytest.mark.parametrize("resolution", [32, 128, 224])
def test_the_resolution_may_be_above_or_below_the_size_of_the_image(resolution: int) -> None:
    assert np.array_equal(decode(VALID["PNG"], resolution), reference(photo(), resolution))


def test_a_memoryview_is_as_good_as_bytes() -> None:
    pixels = decoding.decode(memoryview(VALID["PNG"]), resolution=R, max_pixels=10**8)
    assert np.array_equal(pixels, decode(VALID["PNG"]))


def test_the_square_in_the_centre_is_kept_and_the_rest_does_not_show() -> None:
    wide = Image.new("RGB", (200, 100), "white")
    wide.paste("black", (53, 3, 147, 97))  # the square is 87.5 wide, and the filter reaches 1.4 pixels over its edge
    for image in (wide, wide.transpose(Transpose.TRANSPOSE)):
        assert decode(encoded(image, "PNG"), 32).max() == 0


def test_the_aspect_ratio_is_kept() -> None:
    square = photo(90, 90)
    for width, height in ((400, 90), (90, 400)):
        image = Image.new("RGB", (width, height))
        image.paste(square, ((width - 90) // 2, (height - 90) // 2))
        assert distance(decode(encoded(image, "PNG")), reference(square)).max() <= 1


@pytest.mark.parametrize("form", WRITTEN)
@pytest.mark.parametrize("size", [(1, 1), (1, 10000), (10000, 1), (3, 2)])
def test_the_smallest_and_the_thinnest_images_work(form: str, size: tuple[int, int]) -> None:
    pixels = decode(encoded(Image.new("RGB", size, (200, 100, 50)), form), 32)
    assert distance(pixels, np.array((200, 100, 50), np.uint8)).max() <= LOSSY.get(form, 0)


@pytest.mark.parametrize(
    ("form", "first"), [("GIF", 12), ("PNG", 0), ("WEBP", 0), ("TIFF", 0), ("MPO", 3), ("AVIF", 3)]
)
def test_the_first_frame_or_page_counts(form: str, first: int) -> None:
    others = [photo().transpose(turn) for turn in (Transpose.ROTATE_180, Transpose.FLIP_LEFT_RIGHT)]
    data = encoded(photo(), form, save_all=True, append_images=others)
    assert Image.open(io.BytesIO(data)).n_frames == 3  # type: ignore[attr-defined]
    assert distance(decode(data), reference(photo())).mean() <= first


# Photos lie the right way up.

INVERSE = {
    1: None,
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_90,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_270,
}
CAMERAS: dict[str, dict[str, Any]] = {
    "JPEG": {},
    "PNG": {},
    "WEBP": {},
    "TIFF": {},
    "TIFF packed": {"compression": "tiff_lzw"},
    "TIFF pages": {"save_all": True, "append_images": [photo()]},
    "MPO": {"save_all": True, "append_images": [photo()], "quality": 95, "subsampling": 0},
    "AVIF": {},
}


@pytest.mark.parametrize("orientation", INVERSE)
@pytest.mark.parametrize("camera", CAMERAS)
def test_every_exif_orientation_is_turned_upright_once(camera: str, orientation: int) -> None:
    inverse = INVERSE[orientation]
    stored = photo() if inverse is None else photo().transpose(inverse)
    data = encoded(stored, camera.split(maxsplit=1)[0], exif=images.orientation(orientation), **CAMERAS[camera])
    assert distance(decode(data), reference(photo())).mean() < 3


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize(
    "exif",
    [
        b"",
        b"II*\0",
        b"II*\0\xff\xff\xff\xff",
        b"MM\0*\0\0\0\x08\xff\xff\x01\x12",
        b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x02\0\0\0\x04up?\0\0\0\0\0",
        b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x08\0\0\0\x01\xff\xff\0\0\0\0\0\0",
        bytes(images.orientation(0).tobytes()[6:]),
        bytes(images.orientation(9).tobytes()[6:]),
        bytes(range(256)),
    ],
)
def test_damaged_exif_is_ignored(form: str, exif: bytes) -> None:
    data = encoded(photo(), form, exif=b"Exif\0\0" + exif)
    assert distance(decode(data), reference(photo())).mean() < 3


@pytest.mark.parametrize(
    "chunk",
    [
        corpus.chunk(b"eXIf", bytes(images.orientation(6).tobytes()[6:])),
        corpus.chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0<tiff:Orientation>6</tiff:Orientation>"),
        corpus.chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(b"x")),
        corpus.chunk(b"PLTE", bytes(6)),
    ],
    ids=["EXIF", "XMP", "EXIF as text", "suggested palette"],
)
def test_what_is_damaged_beside_the_picture_of_a_png_is_ignored(chunk: bytes) -> None:
    damaged = chunk[:-1] + bytes((chunk[-1] ^ 1,))
    np.testing.assert_array_equal(decode(corpus.with_chunks(damaged)), decode(VALID["PNG"]))


def test_a_text_of_a_png_that_is_packed_in_an_unknown_way_is_ignored() -> None:
    text = corpus.chunk(b"zTXt", b"Raw profile type exif\0\1" + zlib.compress(b"x"))
    np.testing.assert_array_equal(decode(corpus.with_chunks(text)), decode(VALID["PNG"]))


def test_a_palette_that_is_damaged_is_not_ignored_where_it_makes_the_picture() -> None:
    data = encoded(photo(mode="P"), "PNG")
    at = data.index(b"PLTE") + 4
    with pytest.raises(UndecodableImage):
        decode(data[:at] + bytes((data[at] ^ 1,)) + data[at + 1 :])


@settings(deadline=None, max_examples=200)
@given(exif=st.binary(max_size=64), magic=st.sampled_from([b"II*\0\x08\0\0\0", b"MM\0*\0\0\0\x08"]))
def test_no_exif_at_all_makes_a_good_photo_fail(magic: bytes, exif: bytes) -> None:
    app1 = b"Exif\0\0" + magic + exif
    data = VALID["JPEG"][:2] + b"\xff\xe1" + struct.pack(">H", len(app1) + 2) + app1 + VALID["JPEG"][2:]
    assert decode(data, 32).shape == (32, 32, 3)


# Large JPEGs are scaled while they are decoded.


@pytest.mark.parametrize("size", [(2400, 1800), (1201, 1603), (601, 1999), (1176, 1176)])
def test_a_scaled_decode_shows_what_a_full_one_does(size: tuple[int, int]) -> None:
    data = encoded(photo(*size), "JPEG")
    full = Image.open(io.BytesIO(data)).convert("RGB")
    assert distance(decode(data), reference(full)).mean() < 0.5


@pytest.mark.parametrize(
    ("size", "resolution", "decoded"),
    [
        ((2400, 1800), 64, (300, 225)),
        ((1176, 1176), 64, (147, 147)),
        ((1175, 1175), 64, (294, 294)),
        ((2400, 1800), 224, (1200, 900)),
        ((1023, 1023), 224, (1023, 1023)),
        ((1024, 1030), 224, (512, 515)),
        ((90, 120), 64, (90, 120)),
    ],
)
def test_a_jpeg_is_decoded_at_no_more_than_it_takes_for_twice_the_pixels_needed(
    size: tuple[int, int], resolution: int, decoded: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []

    def noted(image: Image.Image) -> Image.Image:
        sizes.append(image.size)
        return flat(image)

    monkeypatch.setattr(decoding, "flat", noted)
    decode(encoded(photo(*size), "JPEG", progressive=True), resolution)
    assert sizes == [decoded]
    assert decoded == size or 0.875 * min(decoded) >= 2 * resolution


SIDES = (128, 224, 160, 192)


@pytest.mark.parametrize(
    ("form", "progressive"), [("JPEG", False), ("JPEG", True), ("PNG", False), ("WEBP", False), ("TIFF", False)]
)
@pytest.mark.parametrize("size", [(30, 20), (500, 375), (1600, 1200), (1, 3)], ids=str)
def test_several_resolutions_at_once_are_to_the_pixel_what_each_is_alone(
    form: str, size: tuple[int, int], progressive: bool
) -> None:
    data = encoded(photo(*size), form, exif=images.orientation(6), progressive=progressive)
    alone = {side: decode(data, side) for side in SIDES}
    for sides in (SIDES, SIDES[::-1]):  # the first decides by how much a JPEG is scaled while it is decoded
        together = decoding.located(data, resolutions=sides, max_pixels=10**8)[0]
        for side, pixels in zip(sides, together, strict=True):
            np.testing.assert_array_equal(pixels, alone[side])


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize(
    ("form", "size", "times"), [("PNG", (1600, 1200), 1), ("JPEG", (500, 375), 1), ("JPEG", (1600, 1200), 2)]
)
def test_several_resolutions_at_once_take_one_decoding_unless_a_jpeg_is_scaled_by_it(
    form: str, size: tuple[int, int], times: int, progressive: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = encoded(photo(*size), form, progressive=progressive)
    decoded: list[Any] = []
    load, decode_jpeg = ImageFile.ImageFile.load, simplejpeg.decode_jpeg

    def loaded(image: ImageFile.ImageFile) -> Any:
        if image.tile:  # there is something left to decode
            decoded.append(image.size)
        return load(image)

    def read(raw: bytes, **size: int) -> Any:
        decoded.append(size)
        return decode_jpeg(raw, **size)

    monkeypatch.setattr(ImageFile.ImageFile, "load", loaded)
    monkeypatch.setattr(simplejpeg, "decode_jpeg", read)
    decoding.located(data, resolutions=SIDES, max_pixels=10**8)[0]
    assert len(decoded) == times


@needs.REFERENCE_DATA.mark()
def test_the_sample_photos_decode_as_they_would_in_full() -> None:
    for data, _ in samples()[::5]:
        full = reference(Image.open(io.BytesIO(data)).convert("RGB"), 128)
        assert distance(decode(data, 128), full).mean() < 1.5


# Transparent images lie on white.


def faded(mode: str) -> Image.Image:
    image = photo(mode=mode[:-1])
    image.putalpha(Image.fromarray(ramp()))
    return image


FADED = {
    "PNG RGBA": encoded(faded("RGBA"), "PNG"),
    "PNG LA": encoded(faded("LA"), "PNG"),
    "PNG palette": encoded(photo(mode="P"), "PNG", transparency=bytes(range(256))),
    "PNG palette key": encoded(photo(mode="P"), "PNG", transparency=photo(mode="P").getpixel((20, 20))),
    "PNG RGB key": encoded(photo(), "PNG", transparency=photo().getpixel((20, 20))),
    "PNG L key": encoded(Image.fromarray(ramp() // 64), "PNG", transparency=1),
    "PNG 1 key": encoded(photo(mode="1"), "PNG", transparency=0),
    "WEBP": encoded(faded("RGBA"), "WEBP", exact=True),
    "GIF": encoded(photo(mode="P"), "GIF", transparency=photo(mode="P").getpixel((20, 20))),
    "TIFF RGBA": encoded(faded("RGBA"), "TIFF"),
    "TIFF LA": encoded(faded("LA"), "TIFF"),
    "TIFF palette alpha": encoded(faded("LA").convert("PA"), "TIFF"),
}


@pytest.mark.parametrize("name", FADED)
def test_transparency_lies_on_white(name: str) -> None:
    image = Image.open(io.BytesIO(FADED[name]))
    assert image.has_transparency_data
    assert distance(decode(FADED[name]), reference(on_white(image))).max() <= 1


@pytest.mark.parametrize("mode", ["P", "L"])
@pytest.mark.parametrize("place", [(0, 0), (10, 20), (80, 70)], ids=str)
@pytest.mark.parametrize("keyed", [False, True])
def test_what_the_first_picture_of_a_gif_leaves_open_is_white(place: tuple[int, int], mode: str, keyed: bool) -> None:
    picture = photo(40, 20, mode)
    options = {"transparency": picture.getpixel((5, 5))} if keyed else {}
    good = encoded(picture, "GIF", **options)
    data = bytearray(good)
    struct.pack_into("<HH", data, 6, 120, 90)
    struct.pack_into("<HH", data, data.index(b",", 13 + 3 * (2 << (data[10] & 7))) + 1, *place)
    shown = Image.new("RGB", (120, 90), "white")
    shown.paste(on_white(Image.open(io.BytesIO(good))), place)
    found = decoding.whole(bytes(data), longest=120, max_pixels=10**6)
    np.testing.assert_array_equal(found, np.asarray(shown))


@pytest.mark.parametrize("place", [(0, 0), (10, 20), (80, 70)], ids=str)
@pytest.mark.parametrize("alpha", [False, True])
def test_what_the_first_picture_of_a_webp_leaves_open_is_white(place: tuple[int, int], alpha: bool) -> None:
    picture = photo(40, 20)
    data = animation((120, 90), picture, place, alpha=alpha)
    shown = Image.new("RGB", (120, 90), "white")
    shown.paste(picture, place)
    found = decoding.whole(data, longest=120, max_pixels=10**6)
    np.testing.assert_array_equal(found, np.asarray(shown))


def animation(size: tuple[int, int], picture: Image.Image, place: tuple[int, int], *, alpha: bool) -> bytes:
    """Return a lossless animated WebP of this size with two pictures, both at one place (RFC 9649, 2.7.1)."""

    def chunk(code: bytes, content: bytes) -> bytes:
        return code + struct.pack("<I", len(content)) + content + bytes(len(content) & 1)

    def numbers(*values: int) -> bytes:
        return b"".join(struct.pack("<I", value)[:3] for value in values)

    head = bytes([2 | 16 * alpha, 0, 0, 0]) + numbers(*(side - 1 for side in size))
    where = numbers(*(at // 2 for at in place), *(side - 1 for side in picture.size), 100)
    frame = where + b"\2" + encoded(picture, "WEBP", lossless=True)[12:]
    pictures = chunk(b"VP8X", head) + chunk(b"ANIM", bytes(6)) + 2 * chunk(b"ANMF", frame)
    return chunk(b"RIFF", b"WEBP" + pictures)


def test_premultiplied_grey_lies_on_white() -> None:
    grey, alpha = 100, 128
    data = grey_tiff(8, 8, bytes((grey * alpha // 255, alpha)) * 64, t258=[8, 8], t277=2, t338=1)
    assert distance(decode(data), np.array(grey * alpha // 255 + 255 - alpha, np.uint8)).max() <= 1


def test_the_transparent_shade_of_16_bit_grey_lies_on_white() -> None:
    values = np.full((30, 40), 0x1234, ">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in values)
    assert decode(png(40, 30, depth=16, colour=0, rows=rows, key=b"\x12\x34")).min() == 255
    assert decode(png(40, 30, depth=16, colour=0, rows=rows, key=b"\x12\x35")).max() == 0x12


def of_one_colour(values: tuple[int, ...], depth: int, key: bytes) -> bytes:
    """Return a PNG of 8 × 8 pixels of one colour, grey or RGB, of so many bits."""
    bits = "".join(f"{value:0{depth}b}" for value in values) * 8
    row = b"\0" + int(bits, 2).to_bytes(len(bits) // 8, "big")
    return png(8, 8, depth=depth, colour=0 if len(values) == 1 else 2, rows=row * 8, key=key)


@pytest.mark.parametrize(("samples", "depth"), [(1, 1), (1, 2), (1, 4), (1, 8), (1, 16), (3, 8), (3, 16)])
def test_only_the_colour_of_the_key_lies_on_white(samples: int, depth: int) -> None:
    most = 2**depth - 1
    shades = range(most + 1) if depth <= 4 else (0, 1 << depth - 8, most // 2, most // 2 + 1, most)
    for shade in shades:
        for key in shades:
            colour = tuple(shade if at == 0 else most // 3 for at in range(samples))
            wanted = tuple(key if at == 0 else most // 3 for at in range(samples))
            seen = np.array([255 if shade == key else value * 255 // most for value in colour], np.uint8)
            for unused in {0, 0x10000 - (1 << depth)}:  # bits above the depth mean nothing
                chunk = struct.pack(f">{samples}H", *(value | unused for value in wanted))
                assert distance(decode(of_one_colour(colour, depth, chunk), 8), seen).max() <= 1, (shade, key)


@pytest.mark.parametrize("damage", [0, 3, 5])
def test_a_key_that_is_damaged_is_not_mended(damage: int) -> None:
    good = of_one_colour((1,), 4, b"\0\1")
    at = good.index(b"tRNS") + 4
    assert decode(good, 8).min() == 255
    with pytest.raises(UndecodableImage):
        decode(good[: at + damage] + bytes((good[at + damage] ^ 1,)) + good[at + damage + 1 :], 8)
    with pytest.raises(UndecodableImage):
        decode(of_one_colour((1,), 4, b"\0"), 8)


# Every kind of pixel that these formats hold becomes RGB.


def ycck() -> bytes:
    """A JPEG as Adobe writes it: inverted CMYK, turned into YCbCr and K."""
    inverted = Image.eval(photo(), lambda value: 255 - value).convert("YCbCr")
    planes = [Image.eval(plane, lambda value: 255 - value) for plane in inverted.split()]
    data = encoded(Image.merge("CMYK", [*planes, Image.new("L", photo().size, 0)]), "JPEG")
    adobe = data.index(b"Adobe")
    return data[: adobe + 11] + b"\x02" + data[adobe + 12 :]


def lab() -> bytes:
    profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    image = ImageCms.profileToProfile(photo(), *profiles, outputMode="LAB")
    assert image is not None
    return encoded(image, "TIFF")


@pytest.mark.parametrize(
    ("data", "mode", "lost"),
    [
        pytest.param(encoded(photo(mode="L"), "JPEG"), "L", 1, id="grey JPEG"),
        pytest.param(encoded(photo(mode="L"), "BMP"), "L", 0, id="grey BMP"),
        pytest.param(encoded(photo(mode="L"), "GIF"), "L", 0, id="grey GIF"),
        pytest.param(encoded(photo(mode="1"), "PNG"), "1", 0, id="1-bit PNG"),
        pytest.param(encoded(photo(mode="1"), "TIFF", compression="group4"), "1", 0, id="fax TIFF"),
        pytest.param(encoded(photo(mode="P"), "PNG"), "P", 0, id="palette PNG"),
        pytest.param(encoded(photo(mode="P"), "BMP"), "P", 0, id="palette BMP"),
        pytest.param(encoded(photo(mode="CMYK"), "TIFF"), "RGB", 0, id="CMYK TIFF"),
        pytest.param(encoded(photo(mode="CMYK"), "JPEG"), "RGB", 3, id="CMYK JPEG, inverted by Adobe"),
        pytest.param(ycck(), "RGB", 3, id="YCCK JPEG"),
        pytest.param(encoded(photo(mode="YCbCr"), "TIFF"), "RGB", 2, id="YCbCr TIFF"),
        pytest.param(lab(), "RGB", 3, id="LAB TIFF"),
        pytest.param(encoded(photo(), "TIFF", compression="jpeg", quality=95), "RGB", 3, id="JPEG in TIFF"),
    ],
)
def test_every_kind_of_colour_becomes_rgb(data: bytes, mode: str, lost: int) -> None:
    assert distance(decode(data), reference(photo(mode=mode).convert("RGB"))).mean() <= lost


def palette_tiff(image: Image.Image, colours: Iterable[int]) -> bytes:
    return grey_tiff(*image.size, image.tobytes(), t262=3, t320=colours)


def planes(image: Image.Image, most: int) -> list[int]:
    """The 256 reds, greens and blues of a palette up to `most`, as a TIFF has them."""
    colours = np.array(image.getpalette()).reshape(-1, 3).T * (most // 255)
    return [int(colour) for colour in np.pad(colours, [(0, 0), (0, 256 - colours.shape[1])]).ravel()]


@pytest.mark.parametrize(("kind", "most"), [("B", 255), ("H", 255), ("H", 65_535), ("I", 255), ("I", 65_535)])
def test_the_colours_of_a_palette_may_have_8_bits_in_a_tiff_of_any_age(kind: str, most: int) -> None:
    image = photo().quantize()
    file = palette_tiff(image, array(kind, planes(image, most)))
    assert np.array_equal(decode(file), reference(image.convert("RGB")))


@pytest.mark.parametrize("most", [255, 65_535])
def test_the_colours_of_a_palette_may_have_8_bits_beside_transparency(most: int) -> None:
    image = photo().quantize()
    indices = np.asarray(image)
    pixels = np.dstack([indices, np.full_like(indices, 255)])
    opaque = grey_tiff(*image.size, pixels.tobytes(), t258=[8, 8], t262=3, t277=2, t338=2, t320=planes(image, most))
    assert np.array_equal(decode(opaque), reference(image.convert("RGB")))


@pytest.mark.parametrize(("kind", "most"), [("B", 255), ("H", 255), ("H", 65_535)])
def test_a_tiff_whose_palette_lacks_a_value_is_refused_with_the_number_of_values(kind: str, most: int) -> None:
    image = photo().quantize()
    with pytest.raises(UndecodableImage, match="767 values"):
        decode(palette_tiff(image, array(kind, planes(image, most)[:-1])))


@pytest.mark.parametrize("alpha", [0, 128, 255])
def test_a_bmp_whose_alpha_is_nothing_but_0_is_opaque_and_any_other_lies_on_white(alpha: int) -> None:
    image = photo(mode="RGBA")
    image.putalpha(alpha)
    expected = on_white(image) if alpha else photo()
    assert distance(decode(images.bmp_of_version_4(image)), reference(expected)).max() <= 1


def test_inks_are_mixed_before_they_are_averaged() -> None:
    planes = np.random.default_rng(0).integers(0, 256, (4, 90, 120), np.uint8)
    image = Image.merge("CMYK", [Image.fromarray(plane) for plane in planes])
    assert np.array_equal(decode(encoded(image, "TIFF")), reference(image.convert("RGB")))


def deep(kind: str) -> bytes:
    """A ramp from 0 to 65,280 (4,080 in 12 bits), with a low byte that must not matter."""
    values = ramp().astype(np.uint16) << 8
    height, width = values.shape
    if kind == "PNG":
        return encoded(Image.fromarray(values), "PNG")
    if kind == "PNG RGB":
        rows = b"".join(b"\0" + np.repeat(row, 3).astype(">u2").tobytes() for row in values)
        return png(width, height, depth=16, colour=2, rows=rows)
    if kind == "TIFF 12-bit":
        pairs = (values >> 4).reshape(-1, 2)
        bits = np.stack([pairs[:, 0] >> 4, (pairs[:, 0] & 15) << 4 | pairs[:, 1] >> 8, pairs[:, 1] & 255], axis=1)
        return grey_tiff(width, height, bits.astype(np.uint8).tobytes(), bits=12)
    if kind == "TIFF 32-bit":
        return grey_tiff(width, height, values.astype("<i4").tobytes(), bits=32, t339=2)
    order = "<" if kind == "TIFF little-endian" else ">"
    return grey_tiff(width, height, values.astype(order + "u2").tobytes(), bits=16, order=order)


@pytest.mark.parametrize(
    "kind", ["PNG", "PNG RGB", "TIFF little-endian", "TIFF big-endian", "TIFF 12-bit", "TIFF 32-bit"]
)
def test_more_than_8_bits_are_scaled_and_not_clipped(kind: str) -> None:
    grey = Image.fromarray(ramp()).convert("RGB")
    assert distance(decode(deep(kind)), reference(grey)).max() <= 1


@pytest.mark.parametrize(("value", "bits"), [(-1, 32), (70_000, 32), (-1, 16), (9, 16), (-1, 8), (9, 8)])
def test_signed_pixels_that_are_no_16_bits_are_refused_with_a_way_out(value: int, bits: int) -> None:
    data = grey_tiff(8, 8, np.full(64, value, f"<i{bits // 8}").tobytes(), bits=bits, t339=2)
    with pytest.raises(UnsupportedImage, match=r"signed pixels have no fixed range.*16 unsigned bits"):
        decode(data)


def test_floating_point_pixels_are_refused_with_a_way_out() -> None:
    with pytest.raises(UnsupportedImage, match=r"(?i)floating-point.*8 or 16 bits"):
        decode(encoded(Image.new("F", (9, 9), 0.5), "TIFF"))


@pytest.mark.parametrize(
    ("colour", "depth", "bits", "seen", "missing"),
    [
        pytest.param(0, 1, "1", (255, 255, 255), (0, 0, 0), id="black and white"),
        pytest.param(0, 8, "11001000", (200, 200, 200), (0, 0, 0), id="grey"),
        pytest.param(0, 16, "1100100000000000", (200, 200, 200), (0, 0, 0), id="grey of 16 bits"),
        pytest.param(2, 8, f"{0xC8780A:b}", (200, 120, 10), (0, 0, 0), id="RGB"),
        pytest.param(2, 16, f"{0xC80078000A00:b}", (200, 120, 10), (0, 0, 0), id="RGB of 16 bits"),
        pytest.param(4, 8, f"{0xC8FF:b}", (200, 200, 200), (255, 255, 255), id="grey with transparency"),
        pytest.param(6, 8, f"{0xC8780AFF:b}", (200, 120, 10), (255, 255, 255), id="RGB with transparency"),
    ],
)
def test_rows_that_a_png_lacks_are_black_or_transparent(
    colour: int, depth: int, bits: str, seen: tuple[int, ...], missing: tuple[int, ...]
) -> None:
    row = b"\0" + int(bits * 80, 2).to_bytes(len(bits) * 10, "big")
    found = decoding.whole(png(80, 80, depth=depth, colour=colour, rows=row * 50), longest=80, max_pixels=10**6)
    np.testing.assert_array_equal(found[:50], np.broadcast_to(np.array(seen), (50, 80, 3)))
    np.testing.assert_array_equal(found[50:], np.broadcast_to(np.array(missing), (30, 80, 3)))


# What cannot be read is refused, each kind with its own error.

FOREIGN = {
    "text": b"hello, this is not an image",
    "one byte": b"\xff",
    "SVG": b'<svg xmlns="http://www.w3.org/2000/svg"/>',
    "PDF": b"%PDF-1.7\n",
    "ICO": encoded(photo(), "ICO"),
    "PPM": encoded(photo(), "PPM"),
    "TGA": encoded(photo(), "TGA"),
    "JPEG 2000": encoded(photo(), "JPEG2000"),
    "WAV": b"RIFF\x24\0\0\0WAVEfmt ",
    "RIFF that is nothing": b"RIFF\x24\0\0\0ABCDfmt ",
    "MP4": b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom",
    "MOV": b"\0\0\0\x14ftypqt  \0\0\2\0qt  ",
    "CR3": b"\0\0\0\x18ftypcrx \0\0\0\1crx isom",
    "JPEG XL": b"\0\0\0\x0cJXL \r\n\x87\n\0\0\0\x14ftypjxl ",
    "Photoshop": b"8BPS\0\1",
    "base64": b"/9j/4AAQSkZJRgABAQ",
}
NAMELESS = {"text", "one byte", "TGA", "RIFF that is nothing"}


def test_no_bytes_are_an_empty_image() -> None:
    with pytest.raises(EmptyImage):
        decode(b"")


@pytest.mark.parametrize("name", FOREIGN)
def test_other_formats_are_refused_by_naming_those_that_are_read(name: str) -> None:
    with pytest.raises(UnsupportedImage) as caught:
        decode(FOREIGN[name])
    assert all(form in caught.value.detail for form in FORMATS)
    hint = caught.value.detail.partition("; it looks like ")[2]
    assert name in hint if name not in NAMELESS else not hint


def test_no_other_reader_of_pillow_is_ever_loaded() -> None:
    script = (
        "import sys; from app.errors import ServiceError; from app.imaging import decode\nbefore = set(sys.modules)\n"
    )
    script += "for data in map(bytes.fromhex, sys.argv[1:]):\n"
    script += "    try: decode.decode(data, resolution=32, max_pixels=10**8)\n    except ServiceError: pass\n"
    script += "print(*sorted(name for name in sys.modules if name.endswith('ImagePlugin')))\n"
    script += "print(*sorted(name for name in set(sys.modules) - before if name.endswith('ImagePlugin')))\n"
    cut = [data[:40] for data in VALID.values()]  # an unreadable header is no reason to ask the others either
    answer = run(script, *(data.hex() for data in [*VALID.values(), *FOREIGN.values(), *cut]))
    wanted = {
        f"PIL.{name}ImagePlugin" for name in ("Avif", "Bmp", "Gif", "Jpeg", "Png", "Ppm", "Tiff", "WebP")
    }  # PPM by Pillow
    loaded, during = answer.stdout.split("\n")[:2]
    assert (set(loaded.split()), during) == (wanted, ""), answer.stderr


@pytest.mark.parametrize("form", FORMATS)
def test_the_pixel_limit_is_exact_and_its_error_says_both_numbers(form: str) -> None:
    assert decode(VALID[form], max_pixels=120 * 90).shape == (R, R, 3)
    with pytest.raises(TooManyPixels, match=r"120 × 90 .*\b10,799\b"):
        decode(VALID[form], max_pixels=120 * 90 - 1)


def test_a_bomb_is_refused_by_its_header_without_taking_memory(tmp_path: Path) -> None:
    for name, data in images.bombs().items():
        (tmp_path / name).write_bytes(data)
    script = """
import resource, sys
from pathlib import Path
from app.errors import ServiceError
from app.imaging import decode as decoding
from app.imaging.pixels import flat
decoding.decode(Path(sys.argv[2]).read_bytes(), resolution=32, max_pixels=10**8)
bombs = {path.name: path.read_bytes() for path in Path(sys.argv[1]).iterdir()}
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 2**26, used + 2**26))  # nor may it ask for what it would not touch
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for name, data in bombs.items():
    try:
        decoding.decode(data, resolution=32, max_pixels=10**8)
    except Exception as exc:
        print(name, type(exc).__name__, sep=": ")
print("grown:", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    good = tmp_path.parent / "good.png"
    good.write_bytes(VALID["PNG"])
    *refused, grown = run(script, str(tmp_path), str(good)).stdout.splitlines()
    assert sorted(refused) == sorted(f"{name}: TooManyPixels" for name in images.bombs())
    assert int(grown.split()[1]) < 8 * 1024  # KiB


def test_the_limit_of_pillow_itself_never_answers_first() -> None:
    assert Image.MAX_IMAGE_PIXELS is None


def test_an_ordinary_progressive_jpeg_and_tiled_tiff_pass() -> None:
    assert decode(images.endless_scans(20)).shape == (R, R, 3)
    assert decode(images.overlapping_strips(1)).shape == (R, R, 3)
    assert decode(images.vast_tile(256)).shape == (R, R, 3)


@pytest.mark.parametrize("data", [images.endless_scans(200), images.overlapping_strips(60)], ids=["JPEG", "TIFF"])
def test_a_small_file_cannot_ask_for_endless_work(data: bytes) -> None:
    with pytest.raises(UndecodableImage, match="more work"):
        decode(data)


@pytest.mark.parametrize("padding", [b"\xff", b"\x00", b"\xff\xe1\x00\x02", corpus.EXIF])
def test_a_jpeg_whose_image_lies_behind_endless_padding_is_refused(padding: bytes) -> None:
    jpeg = encoded(photo(), "JPEG")
    end = 4 + int.from_bytes(jpeg[4:6])  # of the first segment
    assert decode(jpeg[:end] + padding * 20 + jpeg[end:]).shape == (R, R, 3)
    with pytest.raises(UndecodableImage, match="far more work"):
        decode(jpeg[:end] + padding * 20_000 + jpeg[end:])


@pytest.mark.parametrize("item", list(corpus.headers(600_000)), ids=lambda item: item.name)
def test_a_header_that_costs_a_step_every_few_bytes_is_refused_or_never_taken_apart(item: corpus.Case) -> None:
    if corpus.ANSWERED in item.allowed:
        assert decode(item.data).shape == (R, R, 3)
        return
    with pytest.raises(UndecodableImage, match="far more work"):
        decode(item.data)


def many_parts() -> dict[str, bytes]:
    """Return honest files of as many parts as their writers make of what is large."""
    grey = np.random.default_rng(0).integers(0, 256, (1500, 1500), np.uint8)
    profile = b"".join(corpus.segment(0xE2, b"ICC_PROFILE\0" + bytes((n, 60)) + bytes(65_000)) for n in range(1, 61))
    jpeg = encoded(photo(), "JPEG")
    places: dict[str, Any] = {"t273": range(8, 8 + 10_000), "t279": [1] * 10_000}
    return {
        "JPEG with a profile of 3.9 MB": jpeg[:2] + profile + jpeg[2:],
        "PNG of 2 MB in pieces of 8 KB": corpus.in_pieces(encoded(Image.fromarray(grey), "PNG"), 8_192),
        "TIFF of 10,000 strips": images.grey_tiff(1, 10_000, b"\0", t278=1, **places),
        "run-length BMP of noise": corpus.run_length_bmp(400, 400),
    }


@pytest.mark.parametrize("data", list(many_parts().values()), ids=list(many_parts()))
def test_an_honest_file_of_many_parts_is_decoded(data: bytes) -> None:
    assert decode(data).shape == (R, R, 3)


def test_a_large_image_is_left_to_who_has_the_memory_for_it() -> None:
    large = encoded(Image.new("L", (4000, 4000)), "PNG")
    with pytest.raises(LargeImage):
        decoding.decode(large, resolution=32, max_pixels=10**8, large=False)
    assert decoding.decode(large, resolution=32, max_pixels=10**8).shape == (32, 32, 3)


def test_an_image_is_large_by_the_resolution_that_takes_the_most_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.imaging.bounds.LARGE_BYTES", 2_000_000)
    large = encoded(photo(1600, 1200), "JPEG")  # for 128 pixels it is scaled to 400 × 300, and for 224 to 800 × 600
    decoding.decode(large, resolution=128, max_pixels=10**8, large=False)
    for sides in ((128, 224), (224, 128)):
        assert len(decoding.located(large, resolutions=sides, max_pixels=10**8)[0]) == len(sides)
        with pytest.raises(LargeImage):
            decoding.located(large, resolutions=sides, max_pixels=10**8, large=False)[0]


@pytest.mark.parametrize("kept", [0.2, 0.5, 0.9])
@pytest.mark.parametrize("form", FORMATS)
def test_a_truncated_image_is_undecodable(form: str, kept: float) -> None:
    with pytest.raises(UndecodableImage, match=form):
        decode(VALID[form][: int(kept * len(VALID[form]))])


@pytest.mark.parametrize("form", ["PNG", "WEBP", "TIFF packed"])
def test_a_damaged_image_is_undecodable(form: str) -> None:
    data = (VALID | ODD)[form]
    middle = len(data) // 2
    with pytest.raises(UndecodableImage):
        decode(data[:middle] + bytes(64) + data[middle + 64 :])


@pytest.mark.parametrize(
    "exc",
    [
        *(SyntaxError, ValueError, OSError, EOFError, KeyError, IndexError, TypeError, MemoryError, RecursionError),
        *(struct.error, OverflowError, AssertionError, Image.DecompressionBombError, UnidentifiedImageError),
    ],
)
@pytest.mark.parametrize("step", ["PIL.Image.open", "PIL.ImageFile.ImageFile.load"])
def test_whatever_pillow_raises_is_an_undecodable_image(
    exc: type[Exception], step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise exc("<_io.BytesIO object at 0x7f>")

    monkeypatch.setattr(step, fail)
    with pytest.raises(UndecodableImage) as caught:
        decode(VALID["PNG"])
    assert isinstance(caught.value.__cause__, exc)
    assert "BytesIO" not in caught.value.detail


def bad_files() -> list[bytes]:
    cut = [data[: len(data) // 2] for data in VALID.values()]
    return [b"", *FOREIGN.values(), *cut, *images.bombs().values(), images.endless_scans(200)]


def test_details_are_for_people() -> None:
    for data in bad_files():
        with pytest.raises(ServiceError) as caught:
            decode(data)
        assert re.fullmatch(r"th(e|is) [\w ,;:.×()-]+[^.]", caught.value.detail)
        assert not re.search(r"0x|Error|Exception|PIL|BytesIO|None", caught.value.detail)


def test_what_is_wrong_with_a_file_is_never_printed(tmp_path: Path) -> None:
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x09\x01\x12\0\x03\0\xff"
    packed = ODD["TIFF packed"]
    mpo = encoded(photo(), "MPO", save_all=True, append_images=[photo()])
    mpf = mpo.index(b"MPF\0") + 4
    files = {
        "corrupt EXIF warns": encoded(photo(), "JPEG", exif=exif),
        "malformed MPO warns": mpo[:mpf] + b"II*\0\xff" + mpo[mpf + 5 :],
        "too many samples log": grey_tiff(8, 8, bytes(64), t277=9),
        "damaged LZW prints": packed[:4000] + b"\xff" * 64 + packed[4064:],
        "a tag beyond the end warns": grey_tiff(8, 8, bytes(64), t305=[0] * 9)[:-60] + bytes(60),
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    script = """
import logging, sys
from pathlib import Path
from app.errors import ServiceError
from app.imaging import decode as decoding
from app.imaging.pixels import flat
logging.basicConfig(level=logging.DEBUG)
for path in sorted(Path(sys.argv[1]).iterdir()):
    try:
        print(path.name, decoding.decode(path.read_bytes(), resolution=32, max_pixels=10**8).shape, sep=": ")
    except ServiceError as exc:
        print(path.name, type(exc).__name__, sep=": ")
"""
    answer = run(script, str(tmp_path))
    assert answer.stderr == ""
    assert answer.stdout.splitlines() == [
        "a tag beyond the end warns: (32, 32, 3)",
        "corrupt EXIF warns: (32, 32, 3)",
        "damaged LZW prints: UndecodableImage",
        "malformed MPO warns: (32, 32, 3)",
        "too many samples log: UndecodableImage",
    ]


# It holds for many threads and for any bytes.


def test_many_threads_get_what_one_gets_and_leave_no_trace() -> None:
    state = [*warnings.filters], Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES
    files = [*VALID.values(), *ODD.values(), *FADED.values()]
    alone = [decode(data) for data in files]
    with ThreadPoolExecutor(16) as pool:
        together = pool.map(decode, islice(cycle(files), 10 * len(files)))
        assert all(np.array_equal(one, many) for one, many in zip(cycle(alone), together, strict=False))
    assert ([*warnings.filters], Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES) == state


def pixels_or_error(data: bytes) -> None:
    try:
        pixels = decode(data, 32, 10**6)
    except ServiceError:
        return
    assert is_well_formed(pixels, 32)


MAGIC = [
    heif.heic()[:24],
    heif.avif(photo())[:24],
    b"",
    b"\xff\xd8\xff",
    b"\x89PNG\r\n\x1a\n",
    b"RIFF\xff\0\0\0WEBPVP8X",
    b"GIF89a",
    b"BM",
    b"II*\0",
    b"MM\0*",
]


@settings(deadline=None, max_examples=int(os.environ.get("FUZZ_EXAMPLES", "300")))
@given(magic=st.sampled_from(MAGIC), rest=st.binary(max_size=200))
def test_arbitrary_bytes_give_pixels_or_our_error(magic: bytes, rest: bytes) -> None:
    pixels_or_error(magic + rest)


@settings(deadline=None, max_examples=int(os.environ.get("FUZZ_EXAMPLES", "500")))
@given(
    data=st.sampled_from([*VALID.values(), *ODD.values()]),
    flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 7)), max_size=8),
    near=st.sampled_from([40, 400, 10**9]),
    kept=st.one_of(st.just(1.0), st.floats(0, 1)),
)
def test_damaged_files_give_pixels_or_our_error(
    data: bytes, flips: list[tuple[float, int]], near: int, kept: float
) -> None:
    damaged = bytearray(data)
    for place, bit in flips:
        damaged[int(place * min(near, len(damaged)))] ^= 1 << bit
    pixels_or_error(bytes(damaged[: int(kept * len(damaged))]))


@needs.GLIBC.mark()
@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_the_memory_of_one_image_is_kept_for_the_next(form: str, tmp_path: Path) -> None:
    file = tmp_path / "photo"
    file.write_bytes(encoded(photo(500, 375), form))
    faults_an_image = """
import resource, sys
from pathlib import Path
from app.imaging.decode import decode
photo = Path(sys.argv[1]).read_bytes()
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
one = lambda: decode(photo, resolution=128, max_pixels=10**8)
one(), one()
before = faults()
for _ in range(100):
    one()
print((faults() - before) / 100)
"""
    done = subprocess.run([sys.executable, "-c", faults_an_image, file], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 10  # of hundreds, where each image takes its memory anew
