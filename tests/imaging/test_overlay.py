"""Evidence is drawn where it lies, in colours that say whether it is for or against."""

import numpy as np
import pytest

from app.imaging.decode import square
from app.imaging.overlay import overlay

WHITE = np.full((60, 100, 3), 255, np.uint8)
BOX = (20.0, 0.0, 80.0, 60.0)


def drawn(*rows: list[float]) -> np.ndarray:
    return overlay(WHITE, np.array(rows, np.float32), BOX)


def test_what_speaks_for_a_class_is_orange_and_what_speaks_against_it_blue() -> None:
    found = drawn([1, -1], [1, -1])
    red, _, blue = found[30, 25].astype(int)
    assert red > blue + 100
    red, _, blue = found[30, 75].astype(int)
    assert blue > red + 100


def test_the_strongest_is_the_most_colourful_whatever_its_number() -> None:
    strong, weak = drawn([1, 0.2], [1, 0.2]), drawn([100, 20], [100, 20])
    np.testing.assert_array_equal(strong, weak)
    colour = np.ptp(strong.astype(int), axis=2)
    assert colour[30, 25] > 2 * colour[30, 75] > 0


def test_outside_of_the_box_and_where_nothing_is_said_the_image_is_as_it_was_in_grey() -> None:
    found = drawn([1, -1], [1, -1])
    np.testing.assert_array_equal(found[:, :20], WHITE[:, :20])
    np.testing.assert_array_equal(found[:, 80:], WHITE[:, 80:])
    np.testing.assert_array_equal(drawn([0, 0], [0, 0]), WHITE)
    red = np.zeros((10, 10, 3), np.uint8)
    red[..., 0] = 200
    assert (overlay(red, np.zeros((1, 1), np.float32), (0, 0, 10, 10)) == round(0.299 * 200)).all()


@pytest.mark.parametrize("size", [(2, 1), (1, 2), (1_024, 1), (1, 1_024), (3, 1), (1, 1)], ids=str)
def test_even_the_thinnest_image_has_its_evidence_drawn(size: tuple[int, int]) -> None:
    width, height = size
    found = overlay(np.zeros((height, width, 3), np.uint8), np.ones((7, 7), np.float32), square(width, height))
    assert found.shape == (height, width, 3)
    assert found.max() > 100
