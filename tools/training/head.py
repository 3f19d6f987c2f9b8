"""The classifier at the end of a network, among its arrays in Keras' order."""

from app.engines.base import Head
from tools.training.photos import Floats


def without_shift(arrays: list[Floats]) -> list[Floats]:
    """Return the arrays of a network without what its logits have in common, which changes no probability."""
    *features, kernel, bias = arrays
    own = Head(kernel[0, 0], bias).centred
    return [*features, own.kernel[None, None], own.bias]
