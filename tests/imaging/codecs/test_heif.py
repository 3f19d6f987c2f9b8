"""HEIC and AVIF: the primary image, turned once, on white, and no more work than its size says."""

from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.Image import Transpose

from app.errors import ServiceError, UndecodableImage, UnsupportedImage
from app.imaging import decode
from app.imaging.bounds import LargeImage
from app.imaging.codecs.heif import image as heif
from app.imaging.formats import kind_of
from tests.support import heif as files
from tests.support import images, needs
from tests.support.data import SHARED
from tests.support.images import encoded, photo, ramp

R = 64
MOST = 10**8


def decoded(data: bytes, max_pixels: int = MOST) -> Any:
    return decode.decode(data, resolution=R, max_pixels=max_pixels).astype(np.int64)


def shown(image: Image.Image) -> Any:
    return decoded(encoded(image, "PNG"))


def heic(*properties: bytes) -> bytes:
    return files.heic(*properties)


def avif(*properties: bytes) -> bytes:
    return files.avif(photo(), *properties)


def tiled() -> Image.Image:
    whole = Image.new("RGB", (240, 180))
    for left in (0, 120):
        for top in (0, 90):
            whole.paste(photo(), (left, top))
    return whole


@pytest.mark.parametrize("write", [heic, avif])
@pytest.mark.parametrize(
    ("properties", "turns"),
    [
        ([], []),
        ([files.rotated(1)], [Transpose.ROTATE_90]),
        ([files.rotated(2)], [Transpose.ROTATE_180]),
        ([files.rotated(3)], [Transpose.ROTATE_270]),
        ([files.mirrored(0)], [Transpose.FLIP_TOP_BOTTOM]),
        ([files.mirrored(1)], [Transpose.FLIP_LEFT_RIGHT]),
        ([files.rotated(1), files.mirrored(1)], [Transpose.ROTATE_90, Transpose.FLIP_LEFT_RIGHT]),
    ],
    ids=lambda value: "" if isinstance(value, list) and value and isinstance(value[0], bytes) else None,
)
def test_what_the_container_turns_is_turned(write: Any, properties: list[bytes], turns: list[Transpose]) -> None:
    image = photo()
    for turn in turns:
        image = image.transpose(turn)
    assert np.abs(decoded(write(*properties)) - shown(image)).mean() < 2


@pytest.mark.parametrize(("picture", "brand"), [("hvc1", b"heic"), ("av01", b"avif")])
def test_exif_repeats_what_the_container_says_and_is_not_applied_again(picture: str, brand: bytes) -> None:
    exif = bytes(4) + images.orientation(8).tobytes()[6:]
    for turn, wanted in ((files.rotated(1), photo().transpose(Transpose.ROTATE_90)), (files.rotated(0), photo())):
        one = files.picture(turn) if picture == "hvc1" else files.av1_part(files.av1(photo()), turn)
        data = files.heif([one, files.Part(b"Exif", exif, [], {b"cdsc": [1]})], brands=(brand, b"mif1"))
        assert np.abs(decoded(data) - shown(wanted)).mean() < 2


@pytest.mark.parametrize("write", [heic, avif])
def test_what_the_container_cuts_off_does_not_show(write: Any) -> None:
    assert np.abs(decoded(write(files.cropped(60, 40, 10, 5))) - shown(photo().crop((40, 30, 100, 70)))).mean() < 2


def test_an_image_of_tiles_is_put_together() -> None:
    for tile, brand in ((files.picture(), b"heic"), (files.av1_part(files.av1(photo())), b"avif")):
        data = files.heif(files.grid(2, 2, tile, 240, 180, files.rotated(1)), brands=(brand, b"mif1"))
        assert np.abs(decoded(data) - shown(tiled().transpose(Transpose.ROTATE_90))).mean() < 2


def test_ten_bits_are_scaled_to_eight() -> None:
    assert np.abs(decoded(files.ten_bit_heic()) - shown(photo())).max() <= 3


def test_transparency_lies_on_white() -> None:
    image = photo()
    image.putalpha(Image.fromarray(ramp()))
    white = Image.new("RGB", image.size, "white")
    white.paste(image, mask=image)
    assert np.abs(decoded(files.transparent_heic()) - shown(white)).mean() < 2
    assert np.abs(decoded(encoded(image, "AVIF")) - shown(white)).mean() < 2


def test_the_primary_image_counts_and_not_the_first() -> None:
    other = files.av1_part(files.av1(photo().transpose(Transpose.ROTATE_180)))
    data = files.heif([other, files.av1_part(files.av1(photo()))], brands=(b"avif", b"mif1"), primary=2)
    assert np.abs(decoded(data) - shown(photo())).mean() < 2


@pytest.mark.parametrize(
    ("brands", "kind"),
    [
        ((b"heic", b"mif1"), "HEIC"),
        ((b"mif1", b"heic"), "HEIC"),
        ((b"heix", b"mif1"), "HEIC"),
        ((b"mif1", b"miaf"), "HEIC"),
        ((b"avif", b"mif1"), "AVIF"),
        ((b"mif1", b"avif", b"miaf"), "AVIF"),
    ],
)
def test_any_order_of_brands_is_read(brands: tuple[bytes, ...], kind: str) -> None:
    one = files.picture() if kind == "HEIC" else files.av1_part(files.av1(photo()))
    data = files.heif([one], brands=brands)
    assert kind_of(data) == kind
    assert np.abs(decoded(data) - shown(photo())).mean() < 2


@pytest.mark.parametrize(("kind", "name"), [(b"jpeg", "JPEG"), (b"avc1", "H.264"), (b"abcd", "something unknown")])
def test_other_codings_are_named(kind: bytes, name: str) -> None:
    with pytest.raises(UnsupportedImage, match=rf"coded as {name}; HEVC \(HEIC\) and AV1 \(AVIF\) are read"):
        decoded(files.heif([files.Part(kind, b"x", [files.size()])]))


def test_a_sequence_without_a_still_image_says_so() -> None:
    with pytest.raises(UndecodableImage, match="no still image"):
        decoded(files.box(b"ftyp", b"hevc", bytes(4), b"hevc") + files.box(b"moov"))


@pytest.mark.parametrize(
    "data",
    [
        files.heic(configuration=files.hevc_announcing(9_000, 9_000)),
        files.avif(Image.new("RGB", (2_000, 2_000)), shown=files.size(64, 64)),
        files.heif([files.Part(b"iden", b"", [files.size()], {b"dimg": [1]})]),
    ],
    ids=["HEVC", "AV1", "itself"],
)
def test_a_stream_larger_than_its_container_says_is_refused_before_it_is_decoded(
    data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    for decoder in ("_by_libheif", "_by_libavif"):
        monkeypatch.setattr(heif, decoder, lambda *_: pytest.fail("it was decoded"))
    with pytest.raises((UndecodableImage, UnsupportedImage)):
        decoded(data)


def test_metadata_that_belongs_to_many_images_is_not_copied_for_each() -> None:
    pictures = [files.picture()] * 100
    shared = files.Part(b"Exif", bytes(10**6), [], {b"cdsc": [*range(1, 101)]})
    with pytest.raises(UndecodableImage, match="far more work"):
        decoded(files.heif([*pictures, shared]))


def test_a_large_one_waits_for_who_has_the_memory() -> None:
    large = files.heic(shown=files.size(4_000, 4_000))
    with pytest.raises(LargeImage):
        decode.decode(large, resolution=R, max_pixels=MOST, large=False)


@needs.REFERENCE_DATA.mark()
@pytest.mark.parametrize(
    ("name", "size"),
    [("small.heic", (300, 200)), ("small.heif", (640, 426)), ("hopper.avif", (128, 128)), ("turned.avif", (640, 427))],
)
def test_files_of_others_are_read(name: str, size: tuple[int, int]) -> None:
    raw = (SHARED / "odd" / name).read_bytes()
    with heif.opened(raw, MOST, large=True) as image:
        assert sorted(image.size) == sorted(size)
    assert decoded(raw).std() > 20


SEEDS = [
    files.heic(),
    files.transparent_heic(),
    avif(files.rotated(1)),
    files.heif(files.grid(2, 2, files.picture(), 240, 180)),
]


@settings(deadline=None, max_examples=300)
@given(
    data=st.sampled_from(SEEDS),
    flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 7)), max_size=8),
    near=st.sampled_from([60, 400, 10**9]),
    kept=st.one_of(st.just(1.0), st.floats(0, 1)),
)
def test_damaged_files_give_pixels_or_our_error(
    data: bytes, flips: list[tuple[float, int]], near: int, kept: float
) -> None:
    damaged = bytearray(data)
    for place, bit in flips:
        damaged[int(place * min(near, len(damaged)))] ^= 1 << bit
    with suppress(ServiceError):
        assert decoded(bytes(damaged[: int(kept * len(damaged))]), max_pixels=10**6).shape == (R, R, 3)
