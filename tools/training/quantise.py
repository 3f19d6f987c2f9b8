"""Learn the weights of an int8 model, so that it answers as the network does in float32.

Rounding moves every weight to one of 255 values, and every activation to one of 256. Here the network computes with
the rounded values while it is trained further, and its gradient ignores the rounding (Jacob et al. 2017,
arXiv:1712.05877). What it learns are the answers and the features of the network in float32, for crops of the training
photos. The result is a file of Keras weights, from which `tools.weights.bundle` makes the int8 model.
"""

import math
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import tensorflow as tf
import typer
from tqdm import tqdm

from app.engines.bundle import BUNDLED
from app.engines.keras.reader import read
from app.mobilenet import network
from app.training.views import ahead
from tools.training.head import without_shift
from tools.training.int8 import (
    BATCH,
    FoldedLayer,
    answers,
    by_channel,
    by_output,
    equalise,
    fold,
    peaks,
    rounded,
    tensor_ranges,
    unfold,
)
from tools.training.photos import Floats, Indices, Photos, Pixels, cut, random_boxes, split
from tools.training.run import REPORT, HeldOut

SHARES = {128: 0.45, 160: 0.25, 192: 0.15, 224: 0.15}
"""The share of each resolution in the batches. Low ones come more often, because rounding costs them most."""
LEARNING_RATE = 3e-4
"""Of the largest weight of each channel, and of biases as they are."""
CALIBRATED_ON = 400
"""The number of photos that the ranges of int8 come from. The model is calibrated again when it is made."""


class Int8Learner:
    """The network in int8, which learns the answers of that in float32."""

    def __init__(self, exact: Sequence[FoldedLayer], photos: Pixels) -> None:
        """Start from the equalised network; `photos` are those that the ranges of int8 come from."""
        self.exact = exact
        start = equalise(exact, peaks(exact, photos))
        self.ranges = tensor_ranges(start, photos)
        self.layers = [one.layer for one in start]
        self.scales = [np.abs(by_channel(one.layer, one.kernel)).max(0) + 1e-12 for one in start]
        self.kernels = [
            tf.Variable(one.kernel / by_output(one.layer, scale)) for one, scale in zip(start, self.scales, strict=True)
        ]
        self.biases = [tf.Variable(one.bias) for one in start]
        self.optimizer = tf.keras.optimizers.Adam(LEARNING_RATE)
        self.optimizer.build([*self.kernels, *self.biases])
        signature = (tf.TensorSpec((None, None, None, 3), tf.uint8),)
        self._learn = tf.function(self._step, input_signature=signature, autograph=False)
        self._compare = tf.function(self._errors, input_signature=signature, autograph=False)

    def folded(self) -> list[FoldedLayer]:
        """Return the network as it is now, before rounding."""
        parts = zip(self.layers, self.kernels, self.scales, self.biases, strict=True)
        return [FoldedLayer(layer, kernel * by_output(layer, scale), bias) for layer, kernel, scale, bias in parts]

    def arrays(self) -> list[Floats]:
        """Return the arrays for Keras' `set_weights`; a kernel has only values that int8 has, too."""
        return [np.asarray(array) for array in unfold([rounded(one) for one in self.folded()])]

    def learn(self, progress: float, pixels: Pixels) -> float:
        """Learn from pixels, uint8 `[n, r, r, 3]`, after this share of the training, 0 to 1; return the loss."""
        self.optimizer.learning_rate.assign(LEARNING_RATE * (1 + math.cos(math.pi * progress)) / 2)
        return float(self._learn(pixels))

    def _step(self, pixels: tf.Tensor) -> tf.Tensor:
        inputs = tf.cast(pixels, tf.float32)
        _, wanted = answers(self.exact, inputs)
        with tf.GradientTape() as tape:
            _, found = answers(self.folded(), inputs, self.ranges)
            loss = tf.add_n([_relative_error(own, exact) for own, exact in zip(found, wanted, strict=True)])
        variables = [*self.kernels, *self.biases]
        self.optimizer.apply(tape.gradient(loss, variables), variables)
        return loss

    def _errors(self, pixels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        inputs = tf.cast(pixels, tf.float32)
        (_, (exact, _)), (_, (own, _)) = answers(self.exact, inputs), answers(self.folded(), inputs, self.ranges)
        return own - exact, tf.argmax(own, -1) != tf.argmax(exact, -1)

    def report(self, pixels: Pixels) -> str:
        """Say how far the answers to these photos are from those in float32."""
        parts = [self._compare(pixels[start : start + BATCH]) for start in range(0, len(pixels), BATCH)]
        errors, differs = (np.concatenate(part) for part in zip(*parts, strict=True))
        error = math.sqrt((errors**2).mean())
        return f"error of the logits (root mean square) {error:.4f}, another class for {differs.sum()}"


def batches(photos: Photos, indices: Indices, steps: int, seed: int) -> Iterator[Pixels]:
    """Yield random crops of random photos, uint8 `[BATCH, r, r, 3]`."""
    rng = np.random.default_rng(seed)
    boxes = random_boxes(steps, BATCH, int(rng.integers(2**31)))

    def calls() -> Iterator[partial[Pixels]]:
        for own in boxes:
            chosen, mirror = rng.choice(indices, BATCH, replace=False), rng.random(BATCH) < 0.5
            side = int(rng.choice(list(SHARES), p=list(SHARES.values())))
            yield partial(cut, photos.pixels, chosen, own, mirror, side)

    return ahead(calls())


def exact(alpha: float) -> list[FoldedLayer]:
    """Return the bundled network in float32. What its logits have in common is left out: no class depends on it."""
    return fold(without_shift(read(BUNDLED.weights(alpha), alpha)), alpha)


def _relative_error(own: tf.Tensor, exact: tf.Tensor) -> tf.Tensor:
    return tf.reduce_mean((own - exact) ** 2) / tf.math.reduce_variance(exact)


def main(
    run: Annotated[Path, typer.Option(help="Folder for int8.weights.h5, and for the decoded photos.")],
    alpha: Annotated[float, typer.Option(help="Width multiplier of the bundled weights.")] = 0.25,
    data: Annotated[Path, typer.Option(help="Folder with train/<WordNet id>/*.")] = Path("../shared/data/imagenette"),
    steps: Annotated[int, typer.Option(help="Number of batches.")] = 1500,
    seed: Annotated[
        int, typer.Option(help="Determines the crops; the photos held out are always those of seed 0.")
    ] = 1,
) -> None:
    """Learn, and say before and after how far int8 is from float32 on the photos that are held out."""
    run.mkdir(parents=True, exist_ok=True)
    photos = Photos.load(data / "train", run)
    learnt, kept = split(len(photos.labels), 0)
    held_out = HeldOut.of(photos, kept)
    chosen = learnt[np.linspace(0, len(learnt) - 1, CALIBRATED_ON).astype(int)]
    calibration = HeldOut.of(photos, chosen, [160]).pixels[160]
    learner = Int8Learner(exact(alpha), calibration)

    def report() -> None:
        for side in REPORT:
            typer.echo(f"{side}: {learner.report(held_out.pixels[side])} of {len(kept)} photos")

    report()
    bar = tqdm(batches(photos, learnt, steps, seed), total=steps, mininterval=5)
    for number, pixels in enumerate(bar):
        bar.set_postfix(loss=f"{learner.learn(number / steps, pixels):.4f}")
    report()
    model = network.build(alpha, None, len(photos.wnids))
    model.set_weights(learner.arrays())
    model.save_weights(run / "int8.weights.h5")


if __name__ == "__main__":
    typer.run(main)
