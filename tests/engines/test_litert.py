"""What is computed here of what LiteRT answers; needs no model."""

import numpy as np

from app.engines.interface import softmax


def test_the_softmax_of_huge_logits_is_still_a_probability() -> None:
    logits = np.array([[1000, 999, -1000], [-1000, -1001, -3000], [0, 0, 0]], np.float32)
    near, far = 1 / (1 + np.exp(-1)), 1 / (1 + np.exp(1))
    expected = [[near, far, 0], [near, far, 0], [1 / 3] * 3]
    found = softmax(logits)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-6)
