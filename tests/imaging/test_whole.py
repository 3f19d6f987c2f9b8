"""All of an image, as it is drawn over: upright, in its shape, and no longer than asked for."""

import numpy as np
import pytest

from app.imaging import decode
from tests.support.images import encoded, orientation, photo


@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF"])
@pytest.mark.parametrize(
    ("size", "drawn"),
    [
        ((60, 40), (60, 40)),
        ((400, 100), (100, 25)),
        ((100, 400), (25, 100)),
        ((5000, 3), (100, 1)),
        ((3, 5000), (1, 100)),
    ],
    ids=str,
)
def test_an_image_keeps_its_shape_and_even_the_thinnest_is_a_pixel_wide(
    form: str, size: tuple[int, int], drawn: tuple[int, int]
) -> None:
    found = decode.whole(encoded(photo(*size), form), longest=100, max_pixels=10**8)
    assert found.shape == (drawn[1], drawn[0], 3)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF"])
def test_it_lies_as_it_is_looked_at(form: str) -> None:
    lying = decode.whole(encoded(photo(60, 40), form), longest=60, max_pixels=10**8)
    upright = decode.whole(encoded(photo(60, 40), form, exif=orientation(6)), longest=60, max_pixels=10**8)
    np.testing.assert_array_equal(upright, np.rot90(lying, -1))
