"""Makes a wider network that answers as a narrower one does, to train it further (Net2WiderNet, Chen et al. 2016).

Some channels are copied. Each weight that reads a copied channel is split into two that add up to it, so that the sums
stay the same. Each weight is split at random: if the two halves were equal, both copies would learn the same for ever.
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
    """Give `wide` weights with which it answers as `narrow` does. It has up to twice as many channels in each layer."""
    rng = np.random.default_rng(seed)
    origin = np.arange(3)  # for each channel that a layer reads, its channel in the narrow network; first RGB
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
    """Return which channel each of the `wanted` channels is: all channels, then copies of some, each at most once."""
    return np.concatenate([np.arange(channels), rng.choice(channels, wanted - channels, replace=False)])


def _split(kernel: Floats, origin: Indices, rng: np.random.Generator) -> Floats:
    """Return the kernel `[h, w, c, n]` for inputs with copies at the end; a copy gets a random share of the weight."""
    channels = kernel.shape[2]
    wide = kernel[:, :, origin]
    share = rng.uniform(*SPLIT, wide[:, :, channels:].shape).astype(np.float32)
    copies = wide[:, :, channels:] * share
    wide[:, :, channels:] = copies
    wide[:, :, origin[channels:]] -= copies
    return wide


def start_from(model: keras.Model, weights: Path, alpha: float, classes: int, seed: int) -> None:
    """Give the model weights with which it answers as the network of this α with these Keras weights."""
    narrow = network.build(alpha, None, classes, input_dtype="float32")
    narrow.load_weights(weights)
    widen(narrow, model, seed)
