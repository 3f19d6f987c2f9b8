import numpy as np
import pytest

from app.engines.interface import Interface, softmax


def test_pixels_go_in_as_the_numbers_that_stand_for_them() -> None:
    image = np.array([[[0, 51, 255]]], np.uint8)
    values = np.linspace(-1, 1, 256, dtype=np.float32)
    np.testing.assert_allclose(Interface(values).encode(image), [[[[-1, -0.6, 1]]]], atol=1e-6)
    assert Interface().encode(image).dtype == np.uint8
    np.testing.assert_array_equal(Interface().encode(image), image[None])


def test_quantised_logits_become_probabilities_in_float32() -> None:
    quantised = np.array([[-128, 0, 127]], np.int8)
    found = Interface(output="logits", scale=0.05, zero=-28).decode(quantised)
    np.testing.assert_allclose(found, softmax(np.array([[-5, 1.4, 7.75]], np.float32)), rtol=1e-5)
    assert found.dtype == np.float32


def test_rounded_probabilities_add_up_to_1_again() -> None:
    rounded = np.array([[-128, -65, -3], [-128, -128, -128]], np.int8)
    found = Interface(output="rounded probabilities", scale=1 / 256, zero=-128).decode(rounded)
    np.testing.assert_allclose(found, [[0, 63 / 188, 125 / 188], [1 / 3, 1 / 3, 1 / 3]], rtol=1e-6)


@pytest.mark.parametrize("rows", [1, 3])
def test_probabilities_of_our_own_models_are_left_as_they_are(rows: int) -> None:
    answers = np.full((rows, 4), 0.2499, np.float32)
    assert Interface().decode(answers) is answers


def test_the_softmax_of_huge_logits_is_still_a_probability() -> None:
    logits = np.array([[1000, 999, -1000], [-1000, -1001, -3000], [0, 0, 0]], np.float32)
    near, far = 1 / (1 + np.exp(-1)), 1 / (1 + np.exp(1))
    expected = [[near, far, 0], [near, far, 0], [1 / 3] * 3]
    found = softmax(logits)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-6)
