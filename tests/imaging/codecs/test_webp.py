"""The size of a WebP is read from its header in every form of the format, before Pillow takes memory for its canvas."""

import struct
from typing import Any

import pytest

from app.imaging.codecs import webp
from tests.support.images import encoded, orientation, photo

FORMS: dict[str, dict[str, Any]] = {
    "lossy": {"lossless": False},
    "lossless": {"lossless": True},
    "extended": {"lossless": False, "exif": orientation(6)},
    "animated": {"save_all": True},
}
CODES = {"lossy": b"VP8 ", "lossless": b"VP8L", "extended": b"VP8X", "animated": b"VP8X"}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size", [(300, 5), (5, 300)], ids=str)
def test_width_and_height_are_those_of_the_file_in_this_order(form: str, size: tuple[int, int]) -> None:
    images = {"append_images": [photo(*size).rotate(180)]} if form == "animated" else {}
    data = encoded(photo(*size), "WEBP", **FORMS[form] | images)
    assert data[12:16] == CODES[form]
    assert webp.size(data) == size


def test_the_scale_that_a_lossy_file_wishes_to_be_shown_at_is_not_part_of_its_size() -> None:
    data = bytearray(encoded(photo(), "WEBP", lossless=False))
    data[26:30] = struct.pack("<HH", 120 | 1 << 14, 90 | 3 << 14)
    assert webp.size(bytes(data)) == (120, 90)
