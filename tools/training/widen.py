"""A wider network that answers as a narrower one does, to go on training from: Net2WiderNet of Chen et al., 2016.

Some channels are copied. What read the one now reads both, its weights split between them, so that the sums stay what
they were. The split is random for each reader: channels that are read alike would learn alike and stay copies.
"""

from pathlib import Path

import keras
import numpy as np
from numpy.typing import NDArray

from app.mobilenet import network

Floats = NDArray[np.float32]
Indices = NDArray[np.int64]

SPLIT = (0.25, 0.75)


def widen(narrow: keras.Model, wide: keras.Model, seed: int) -> None:
    """Give `wide`, of up to twice as many channels in each layer, weights that answer as `narrow` does."""
    rng = np.random.default_rng(seed)
    origin = np.arange(3)  # of each channel, the one in the narrow network that it is or copies; here those of RGB
    for layer in wide.layers:
        weights = narrow.get_layer(layer.name).get_weights() if layer.weights else []
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([weight[origin] for weight in weights])
        elif isinstance(layer, keras.layers.DepthwiseConv2D):
            layer.set_weights([weights[0][:, :, origin]])
        elif isinstance(layer, keras.layers.Conv2D):
            kernel, *bias = weights
            written = _origin(kernel.shape[-1], layer.filters, rng)
            kernel = _split(kernel[..., written], origin, rng)
            layer.set_weights([kernel, *(weight[written] for weight in bias)])
            origin = written


def _origin(channels: int, wanted: int, rng: np.random.Generator) -> Indices:
    """Return the channel that each of the `wanted` ones is: first all, then copies of some, each at most once."""
    return np.concatenate([np.arange(channels), rng.choice(channels, wanted - channels, replace=False)])


def _split(kernel: Floats, origin: Indices, rng: np.random.Generator) -> Floats:
    """Return the kernel `[h, w, c, n]` for inputs of which the last ones are copies: the copy gets a random share."""
    channels = kernel.shape[2]
    wide = kernel[:, :, origin]
    share = rng.uniform(*SPLIT, wide[:, :, channels:].shape).astype(np.float32)
    copies = wide[:, :, channels:] * share
    wide[:, :, channels:] = copies
    wide[:, :, origin[channels:]] -= copies
    return wide


def begin_as(model: keras.Model, weights: Path, alpha: float, classes: int, seed: int) -> None:
    """Let the model begin as the network of this α and these Keras weights."""
    narrow = network.build(alpha, None, classes, input_dtype="float32")
    narrow.load_weights(weights)
    widen(narrow, model, seed)
