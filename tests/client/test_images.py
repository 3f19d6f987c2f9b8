"""What can be passed as an image, and that its pixels arrive as they are."""

import gzip
import io
import subprocess
import sys
from array import array
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from app.client.images import bytes_about, content, content_or_error
from app.errors import Unreadable
from tests.support.data import REPOSITORY

RANDOM = np.random.default_rng(0)


def pixels(shape: tuple[int, ...]) -> Any:
    return RANDOM.integers(0, 256, shape, np.uint8)


def opened(file: bytes) -> Image.Image:
    return Image.open(io.BytesIO(file))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "photo.jpg"
    path.write_bytes(b"photo")
    return path


def test_a_path_bytes_and_a_file_object_give_what_is_in_the_file(path: Path) -> None:
    with path.open("rb") as file:
        given: list[Any] = [
            str(path),
            path,
            b"photo",
            bytearray(b"photo"),
            memoryview(b"photo"),
            io.BytesIO(b"photo"),
            file,
        ]
        assert [content(one) for one in given] == [b"photo"] * 7


@pytest.mark.parametrize("shape", [(3, 5), (3, 5, 3), (3, 5, 4), (1, 1), (64, 48, 3)])
def test_an_array_arrives_to_the_bit(shape: tuple[int, ...]) -> None:
    given = pixels(shape)
    np.testing.assert_array_equal(np.asarray(opened(content(given))), given)


def test_a_part_of_an_array_arrives_as_what_it_shows() -> None:
    given = pixels((20, 30, 3))[::-2, 3:17, ::-1]
    np.testing.assert_array_equal(np.asarray(opened(content(given))), given)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (np.zeros((4, 4, 3), np.float32), "an array of float32 cannot be sent; allowed are arrays of uint8"),
        (np.zeros((4, 4), bool), "an array of bool cannot be sent"),
        (np.zeros((2, 4, 4, 3), np.uint8), r"an array of shape \(2, 4, 4, 3\) cannot be sent"),
        (np.zeros((3, 4, 5), np.uint8), r"an array of shape \(3, 4, 5\) cannot be sent"),
        (np.zeros((4, 4, 1), np.uint8), r"an array of shape \(4, 4, 1\) cannot be sent"),
        (np.zeros((0, 4, 3), np.uint8), r"an array of shape \(0, 4, 3\) cannot be sent"),
        (np.zeros(4, np.uint8), r"an array of shape \(4,\) cannot be sent"),
    ],
)
def test_any_other_array_is_refused_with_what_is_allowed(given: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says) as caught:
        content(given)
    assert "(height, width, 3)" in str(caught.value)
    assert isinstance(content_or_error(given), Unreadable)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_a_picture_arrives_to_the_bit(mode: str) -> None:
    picture = Image.fromarray(pixels((9, 7, 3))).convert("L" if mode == "I;16" else mode)
    picture = Image.fromarray(pixels((9, 7)).astype(np.uint16) * 257) if mode == "I;16" else picture
    found = opened(content(picture))
    assert found.mode == mode
    np.testing.assert_array_equal(np.asarray(found), np.asarray(picture))


def test_a_picture_of_a_file_arrives_with_its_colour_profile_and_turned_as_it_is_but_not_with_its_place() -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x8825] = 6, {1: "N", 2: (50.0, 1.0, 2.0)}
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    file = io.BytesIO()
    Image.fromarray(pixels((16, 16, 3))).save(file, "JPEG", exif=exif, icc_profile=profile)
    found = opened(content(opened(file.getvalue())))
    assert dict(found.getexif()) == {0x0112: 6}
    assert found.info["icc_profile"] == profile


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw"])
def test_a_picture_of_a_tiff_is_turned_once(compression: str) -> None:
    """Pillow turns the pixels of a TIFF as it loads them, so the tag must not be sent as well."""
    exif = Image.Exif()
    exif[0x0112] = 6
    given = pixels((4, 6, 3))
    file = io.BytesIO()
    Image.fromarray(given).save(file, "TIFF", exif=exif, compression=compression)
    found = opened(content(opened(file.getvalue())))
    assert not dict(found.getexif())
    np.testing.assert_array_equal(np.asarray(found), np.rot90(given, -1))


def test_a_picture_that_a_png_does_not_hold_is_refused_with_what_to_do() -> None:
    with pytest.raises(ValueError, match=r"mode CMYK cannot be sent; allowed are 1, L, .*image.convert\('RGB'\)"):
        content(Image.new("CMYK", (2, 2)))


def test_a_picture_of_a_file_that_is_cut_off_is_unreadable() -> None:
    file = io.BytesIO()
    Image.fromarray(pixels((64, 64, 3))).save(file, "JPEG")
    with pytest.raises(Unreadable, match="the PIL image cannot be read: image file is truncated"):
        content(opened(file.getvalue()[:-500]))


def test_a_picture_of_an_avif_that_is_cut_off_is_unreadable() -> None:
    """Pillow raises `SyntaxError` for it."""
    file = io.BytesIO()
    Image.fromarray(pixels((64, 64, 3))).save(file, "AVIF")
    with pytest.raises(Unreadable, match="the PIL image cannot be read: Failed to decode frame 0: Truncated data"):
        content(opened(file.getvalue()[:-1]))


@pytest.mark.parametrize("error", [RuntimeError("Decoding of\ncolor planes failed"), ValueError("Decoding of")])
def test_a_picture_is_unreadable_whatever_pillow_raises(error: Exception) -> None:
    class Damaged(Image.Image):
        def load(self) -> Any:
            raise error

    picture = Damaged()
    picture._mode = "RGB"
    with pytest.raises(Unreadable, match=r"^the PIL image cannot be read: Decoding of$"):
        content(picture)


@pytest.mark.parametrize(
    ("given", "named"), [(7, "int"), (None, "NoneType"), ([b"photo"], "list"), (array("B"), "array")]
)
def test_anything_else_is_refused_by_its_type(given: Any, named: str) -> None:
    with pytest.raises(TypeError, match=f"an image must be a path, the bytes of an image file, .*, not {named}"):
        content(given)


def test_a_file_in_text_mode_is_refused_with_what_to_do() -> None:
    with pytest.raises(TypeError, match="must be opened in binary mode, such as 'rb'; this one gives str"):
        content(io.StringIO("photo"))  # type: ignore[arg-type]


def test_a_photo_in_text_mode_is_refused_by_its_mode_and_not_by_its_bytes(path: Path) -> None:
    path.write_bytes(b"\xff\xd8\xff")
    with path.open(encoding="utf-8") as file, pytest.raises(TypeError, match="must be opened in binary mode"):
        content(file)  # type: ignore[arg-type]


def test_a_file_object_that_fails_is_unreadable_whatever_it_raises() -> None:
    says = "the file object: Compressed file ended before the end-of-stream marker"
    with gzip.open(io.BytesIO(gzip.compress(b"photo")[:-4])) as file, pytest.raises(Unreadable, match=says):
        content(file)


@pytest.mark.parametrize("kind", [str, Path])
def test_a_file_that_is_missing_is_named(kind: type, tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match=r"missing\.jpg: No such file or directory") as caught:
        content(kind(tmp_path / "missing.jpg"))
    assert caught.value.code == "unreadable"


def test_how_large_an_image_is_is_known_before_it_is_read(path: Path) -> None:
    given = [str(path), path, b"photo", bytearray(5), memoryview(b"photo"), pixels((5, 1)), Image.new("L", (5, 1))]
    assert [bytes_about(one) for one in given] == [5] * 7
    assert [bytes_about(one) for one in (io.BytesIO(b"photo"), "missing", "\0")] == [0, 0, 0]


def test_an_image_of_numpy_is_sent_where_pillow_is_not_imported() -> None:
    program = (
        "import sys, numpy as np; from app.client.images import content; content(np.zeros((2, 2), np.uint8)); "
        "print('PIL' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
