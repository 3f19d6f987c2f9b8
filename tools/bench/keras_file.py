"""Writes a variant as a Keras file, for servers of Keras models; in its own process, because it imports TensorFlow."""

import sys
from pathlib import Path

from app.engines.keras.reader import read
from app.mobilenet.network import build


def write(weights: Path, alpha: float, resolution: int, target: Path) -> None:
    """Write the network with these weights, from uint8 pixels `[n, r, r, 3]` to probabilities `[n, classes]`."""
    arrays = read(weights, alpha)
    network = build(alpha, resolution, classes=len(arrays[-1]))
    network.set_weights(arrays)
    network.save(target)


if __name__ == "__main__":
    source, alpha_, resolution_, target_ = sys.argv[1:]
    write(Path(source), float(alpha_), int(resolution_), Path(target_))
