"""Writes the Keras file of a variant, in a process of its own since it imports TensorFlow: for who serves Keras."""

import sys
from pathlib import Path

from app.engines.weights import read
from app.mobilenet.network import build


def write(weights: Path, alpha: float, resolution: int, target: Path) -> None:
    """Write the network with these weights: uint8 `[n, r, r, 3]` in, probabilities `[n, classes]` out."""
    arrays = read(weights, alpha)
    network = build(alpha, resolution, classes=len(arrays[-1]))
    network.set_weights(arrays)
    network.save(target)


if __name__ == "__main__":
    source, alpha_, resolution_, target_ = sys.argv[1:]
    write(Path(source), float(alpha_), int(resolution_), Path(target_))
