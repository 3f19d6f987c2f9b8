"""The temperature of the bundled weights: measured on the photos that a training held out, and folded into them."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.engines.keras.reader import read
from app.imaging import decode
from app.mobilenet.variants import RESOLUTIONS
from app.training.schedule import BATCH
from app.training.temperature import fit
from tools.training.photos import split
from tools.weights.evaluate import LabelledPhoto

MAX_PIXELS = 10**8

Floats = NDArray[np.float32]
Indices = NDArray[np.int64]


def held_out(photos: list[LabelledPhoto], seed: int = 0) -> list[LabelledPhoto]:
    """Return those of the training photos that a training with this seed held out."""
    return [photos[index] for index in split(len(photos), seed)[1]]


def measure(weights: Path, alpha: float, photos: list[LabelledPhoto]) -> float:
    """Return the T of Keras weights on these photos, decoded as the service does it; one T for the four resolutions."""
    from app.mobilenet.network import build

    arrays = read(weights, alpha)
    network = build(alpha, None, len(arrays[-1]))
    network.set_weights(arrays)
    features = trunk(network)
    batches = [photos[start : start + BATCH] for start in range(0, len(photos), BATCH)]
    logits = [np.array(features(_scaled(batch, resolution))) for resolution in RESOLUTIONS for batch in batches]
    truths = np.tile([photo.truth for photo in photos], len(RESOLUTIONS))
    return fit(np.concatenate(logits), truths, len(photos))


def trunk(network: Any) -> Any:
    """Return the network without its scaling of pixels and its softmax: `[n, r, r, 3]`, -1 to 1, to logits `[n, c]`."""
    import keras

    inputs = outputs = keras.Input(network.input_shape[1:], name="scaled_pixels")
    for layer in network.layers[2:-1]:
        outputs = layer(outputs)
    return keras.Model(inputs, outputs, name=network.name)


def _scaled(photos: list[LabelledPhoto], resolution: int) -> Floats:
    contents = (photo.path.read_bytes() for photo in photos)
    decoded = [decode.decode(content, resolution=resolution, max_pixels=MAX_PIXELS) for content in contents]
    return np.stack(decoded).astype(np.float32) / 127.5 - 1


def fold(weights: Path, alpha: float, temperature: float, target: Path) -> None:
    """Write Keras weights that answer `softmax(logits / temperature)` where these answer `softmax(logits)`."""
    from app.mobilenet.network import build

    *features, kernel, bias = read(weights, alpha)
    network = build(alpha, None, len(bias))
    network.set_weights([*features, kernel / temperature, bias / temperature])
    network.save_weights(target)
