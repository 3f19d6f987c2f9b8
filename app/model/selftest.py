"""Proves that a loaded model answers sensibly before anybody is told that the service is ready."""

import time

import numpy as np

from app.engines.base import Engine, patterns

TOLERANCE = 1e-4


class SelfTestFailed(Exception):
    """The model loads and runs, and its answers are wrong; the message says how."""


def self_test(engine: Engine, resolution: int, batch_size: int) -> float:
    """Run made-up images singly and in a batch of every size up to `batch_size`, which warms the engine up too.

    Return how many seconds one image took. Raises `SelfTestFailed` unless the answers are probabilities, differ between
    images, and are the same in company.
    """
    images = list(patterns(batch_size, resolution))
    started = time.perf_counter()
    alone = np.concatenate([engine.predict([image]) for image in images])
    elapsed_s = (time.perf_counter() - started) / batch_size
    _require(alone.shape == (batch_size, engine.classes), f"answers {alone.shape} for {batch_size} images")
    _require(bool(np.isfinite(alone).all()), "answers that are not numbers")
    _require(bool((np.abs(alone.sum(axis=1) - 1) < TOLERANCE).all()), "answers that do not add up to 1")
    _require(batch_size == 1 or float(np.ptp(alone, axis=0).max()) > 0, "the same answer whatever the image")
    for size in range(2, batch_size + 1):
        together = engine.predict(images[:size])
        _require(float(np.abs(together - alone[:size]).max()) < TOLERANCE, f"other answers in a batch of {size}")
    return elapsed_s


def _require(condition: bool, otherwise: str) -> None:
    if not condition:
        raise SelfTestFailed(f"the self-test of the model failed: {otherwise}")
