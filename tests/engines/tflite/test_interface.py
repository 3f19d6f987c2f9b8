import numpy as np
import pytest

from app.engines.tflite.interface import Interface, softmax


def test_pixels_go_in_as_the_numbers_that_stand_for_them() -> None:
    image = np.array([[[0, 51, 255]]], np.uint8)
    values = np.linspace(-1, 1, 256, dtype=np.float32)
    np.testing.assert_allclose(Interface(values).encode(image), [[[[-1, -0.6, 1]]]], atol=1e-6)
    assert Interface().encode(image).dtype == np.uint8
    np.testing.assert_array_equal(Interface().encode(image), image[None])


def test_quantised_logits_become_probabilities_in_float32() -> None:
    quantised = np.array([[-128, 0, 127]], np.int8)
    found = Interface(output="logits", scale=0.05, zero=-28).decode(quantised).probabilities
    np.testing.assert_allclose(found, softmax(np.array([[-5, 1.4, 7.75]], np.float32)), rtol=1e-5)
    assert found.dtype == np.float32


def test_rounded_probabilities_add_up_to_1_again() -> None:
    rounded = np.array([[-128, -65, -3], [-128, -128, -128]], np.int8)
    found = Interface(output="rounded probabilities", scale=1 / 256, zero=-128).decode(rounded).probabilities
    np.testing.assert_allclose(found, [[0, 63 / 188, 125 / 188], [1 / 3, 1 / 3, 1 / 3]], rtol=1e-6)


@pytest.mark.parametrize("rows", [1, 3])
def test_probabilities_of_others_models_are_left_as_they_are_and_have_no_energy(rows: int) -> None:
    answers = np.full((rows, 4), 0.2499, np.float32)
    found = Interface(output="probabilities").decode(answers)
    assert found.probabilities is answers
    np.testing.assert_array_equal(found.energies, [np.nan] * rows)


def test_the_softmax_of_huge_logits_is_still_a_probability() -> None:
    logits = np.array([[1000, 999, -1000], [-1000, -1001, -3000], [0, 0, 0]], np.float32)
    near, far = 1 / (1 + np.exp(-1)), 1 / (1 + np.exp(1))
    expected = [[near, far, 0], [near, far, 0], [1 / 3] * 3]
    found = softmax(logits)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_the_energy_is_the_logarithm_of_the_sum_of_the_exponentials_however_large_the_logits() -> None:
    logits = np.array([[1000, 999, -1000], [-1000, -1001, -3000], [0, 0, 0], [3, 1, -2]], np.float32)
    energies = Interface().decode(logits).energies
    assert energies.dtype == np.float32
    expected = [1000.3133, -999.6867, np.log(3), np.log(np.exp([3.0, 1.0, -2.0]).sum())]
    np.testing.assert_allclose(energies, expected, rtol=1e-6)
