"""Baseline JPEG goes a way of its own, and gets there what it would get from Pillow."""

import io
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from app.errors import ServiceError
from app.imaging import decode, resize
from app.imaging.codecs import jpeg, markers
from tests.support import corpus, images, needs
from tests.support.data import samples
from tests.support.images import encoded, photo

R = 64
NEEDED = 147  # for 64 × 64, as images asks for
MOST = 10**8


def read(data: bytes, needed: int = NEEDED) -> jpeg.Photo | None:
    try:
        return jpeg.read(data, markers.header(data), needed)
    except ValueError:  # it is no JPEG
        return None


def by_pillow(data: bytes, needed: int = NEEDED) -> Any:
    image = Image.open(io.BytesIO(data))
    image.draft(None, (needed, needed))
    return np.asarray(image.convert("RGB"))


def square(data: bytes) -> Any:
    return decode.decode(data, resolution=R, max_pixels=MOST).astype(np.int64)


PLAIN = encoded(photo(), "JPEG")
GOOD = {
    "colour": PLAIN,
    "grey": encoded(photo(mode="L"), "JPEG"),
    "full chroma": encoded(photo(), "JPEG", subsampling=0),
    "half chroma": encoded(photo(), "JPEG", subsampling=1),
    "restarts": encoded(photo(), "JPEG", restart_marker_blocks=2),
    "a profile": encoded(photo(), "JPEG", icc_profile=bytes(70_000)),
    "a hundred segments": PLAIN[:2] + corpus.segment(0xFE, b"") * 100 + PLAIN[2:],
    "fill bytes": PLAIN[:2] + b"\xff" * 9 + PLAIN[2:],
    "turned": encoded(photo(), "JPEG", exif=images.orientation(6)),
    "one pixel": encoded(photo(1, 1), "JPEG"),
    "halved": encoded(photo(301, 299), "JPEG"),
    "quartered": encoded(photo(1000, 601), "JPEG"),
    "an eighth": encoded(photo(1301, 1200), "JPEG"),
}


@pytest.mark.parametrize("seen", [(89, 120), (90, 121)], ids=str)
def test_a_file_that_libjpeg_takes_for_another_size_is_left_to_pillow(
    seen: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("simplejpeg.decode_jpeg_header", lambda _: (*seen, "YCbCr", "420"))
    assert read(PLAIN) is None


@pytest.mark.parametrize("name", GOOD)
def test_the_pixels_are_those_of_pillow(name: str) -> None:
    found = read(GOOD[name])
    assert found is not None
    assert np.array_equal(found.pixels, by_pillow(GOOD[name]))


@needs.REFERENCE_DATA.mark()
def test_the_pixels_of_real_photos_are_those_of_pillow() -> None:
    found = [(read(data, 293), by_pillow(data, 293)) for data, _ in samples()]
    same = [photo is not None and np.array_equal(photo.pixels, pixels) for photo, pixels in found]
    assert sum(same) >= 90  # some are progressive, or have XMP
    assert all(photo is None or equal for (photo, _), equal in zip(found, same, strict=True))


XMP = corpus.segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<x tiff:Orientation='6'/>")
EXIF = corpus.segment(0xE1, images.orientation(6).tobytes())
LEFT = {
    "progressive": encoded(photo(), "JPEG", progressive=True),
    "CMYK": encoded(photo(mode="CMYK"), "JPEG"),
    "XMP, which may turn it": PLAIN[:2] + XMP + PLAIN[2:],
    "two EXIF segments": PLAIN[:2] + EXIF * 2 + PLAIN[2:],
    "truncated": PLAIN[:-200],
    "truncated head": PLAIN[:40],
    "no JPEG": encoded(photo(), "PNG"),
    "nothing": b"",
}


@pytest.mark.parametrize("name", LEFT)
def test_what_is_odd_is_left_to_pillow(name: str) -> None:
    assert read(LEFT[name]) is None


@pytest.mark.parametrize("name", [*GOOD, *LEFT])
def test_the_answer_is_that_of_pillow_within_a_level(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = {**GOOD, **LEFT}[name]
    answers = []
    for _ in range(2):
        try:
            answers.append(square(data))
        except ServiceError as error:
            answers.append(error.code)
        monkeypatch.setattr(jpeg, "read", lambda *_: None)
    if isinstance(answers[0], str):
        assert answers[0] == answers[1]
    else:
        assert np.abs(answers[0] - answers[1]).max() <= 1


@pytest.mark.parametrize("orientation", [*range(10), 60_000])
def test_a_turned_photo_is_turned_as_pillow_turns_it(orientation: int, monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded(photo(90, 200), "JPEG", exif=images.orientation(orientation))
    assert read(data) is not None
    ours = square(data)
    monkeypatch.setattr(jpeg, "read", lambda *_: None)
    assert np.abs(ours - square(data)).max() <= 1


@given(exif=st.binary(max_size=64), magic=st.sampled_from([b"II*\0\x08\0\0\0", b"MM\0*\0\0\0\x08", b""]))
def test_no_exif_at_all_turns_a_photo_otherwise_than_pillow_does(magic: bytes, exif: bytes) -> None:
    data = encoded(photo(60, 40), "JPEG", exif=b"Exif\0\0" + magic + exif)
    ours = square(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jpeg, "read", lambda *_: None)
        assert np.abs(ours - square(data)).max() <= 1


@given(
    width=st.integers(1, 300),
    height=st.integers(1, 300),
    side=st.sampled_from([32, 96, 128, 224]),
    place=st.tuples(*[st.floats(0, 0.9)] * 2, *[st.floats(0.01, 1)] * 2),
)
@example(width=106, height=234, side=96, place=(0.3349181094566493, 0.6039451076504629, 1 / 3, 0.7473293248065884))
def test_simd_scales_as_pillow_does_within_a_level_and_seldom_two(
    width: int, height: int, side: int, place: tuple[float, float, float, float]
) -> None:
    needs.SIMD.check()
    pixels = np.random.default_rng(width * height).integers(0, 256, (height, width, 3), np.uint8)
    left, top = place[0] * width, place[1] * height
    box = (left, top, left + place[2] * (width - left), top + place[3] * (height - top))
    quick, slow = resize.scaled(pixels, box, side), resize._by_pillow(pixels, box, side)
    assert quick.shape == slow.shape == (side, side, 3)
    apart = np.abs(quick.astype(np.int64) - slow)
    assert apart.max() <= 2
    assert (apart == 2).mean() < 1e-3


def triangles(start: float, end: float, count: int, side: int) -> NDArray[np.float64]:
    """Return the weights `[side, count]` of antialiasing bilinear scaling: triangles two of its pixels wide."""
    scale = (end - start) / side
    centres = start + (np.arange(side) + 0.5) * scale
    distances = np.abs(np.arange(count) + 0.5 - centres[:, None]) / max(scale, 1)
    weights: NDArray[np.float64] = np.maximum(0, 1 - distances)
    weights /= weights.sum(axis=1, keepdims=True)
    return weights


@pytest.mark.parametrize("side", [32, 64, 200], ids=["smaller", "about the same", "larger"])
@pytest.mark.parametrize("quick", [True, False], ids=["SIMD", "without SIMD"])
def test_scaling_averages_what_lies_in_the_box_by_triangles(
    side: int, quick: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if quick:
        needs.SIMD.check()
    else:
        monkeypatch.setattr(resize, "simd", None)
    pixels = np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8)
    left, top, right, bottom = box = (20.5, 3.25, 98.0, 80.75)
    rows, columns = triangles(top, bottom, 90, side), triangles(left, right, 120, side)
    wanted = np.einsum("yr,rcx,zc->yzx", rows, pixels, columns, optimize=True)
    assert np.abs(resize.scaled(pixels, box, side) - wanted).max() <= 1
