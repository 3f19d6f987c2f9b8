"""Checks that a loaded model gives sensible answers before the service says that it is ready."""

import time

import numpy as np

from app.engines.base import Engine, patterns

TOLERANCE = 1e-4


class SelfTestFailed(Exception):
    """The model loads and runs, but its answers are wrong; the message says how."""


def self_test(engine: Engine, resolution: int, batch_size: int) -> float:
    """Run made-up images one by one and in batches of every size up to `batch_size`, which also warms the engine up.

    Return how many seconds one image took. Raises `SelfTestFailed` unless all answers are probabilities, differ
    between images, and are the same in a batch as alone.
    """
    images = list(patterns(batch_size, resolution))
    started = time.perf_counter()
    alone = np.concatenate([engine.predict([image]).probabilities for image in images])
    elapsed_s = (time.perf_counter() - started) / batch_size
    shape = (batch_size, engine.classes)
    _require(alone.shape == shape, f"the answers have the shape {alone.shape} instead of {shape}")
    _require(bool(np.isfinite(alone).all()), "some probabilities are not finite numbers")
    _require(bool((np.abs(alone.sum(axis=1) - 1) < TOLERANCE).all()), "its probabilities do not add up to 1")
    _require(batch_size == 1 or float(np.ptp(alone, axis=0).max()) > 0, "it gives the same answer whatever the image")
    for size in range(2, batch_size + 1):
        together = engine.predict(images[:size]).probabilities
        same = float(np.abs(together - alone[:size]).max()) < TOLERANCE
        _require(same, f"an image gets another answer in a batch of {size} than alone")
    return elapsed_s


def _require(condition: bool, otherwise: str) -> None:
    if not condition:
        raise SelfTestFailed(f"the self-test of the model failed: {otherwise}")
