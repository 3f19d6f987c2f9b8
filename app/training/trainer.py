"""The network in training, in TensorFlow: a step of learning, and the moving average of the weights."""

from pathlib import Path
from typing import Any, BinaryIO

import keras
import numpy as np
import tensorflow as tf

from app.engines.base import Pixels
from app.training.schedule import COLOUR_JITTER, LEARNING_RATE

WEIGHT_DECAY = 0.02
AVERAGE_DECAY = 0.999
PIXELS = tf.TensorSpec((None, None, None, 3), tf.uint8)
TARGETS = tf.TensorSpec((None, None), tf.float32)
WEIGHTS = tf.TensorSpec((None,), tf.float32)
BATCH = (tf.TensorSpec((), tf.int32), PIXELS, TARGETS, WEIGHTS)
"""What a step of learning takes, its number first.

As the sides of the pixels are left open, TensorFlow traces the step once and not for each resolution, which takes
seconds each time. A step is as fast.
"""


class Trainer:
    """The network, the moving average of its weights, and the optimiser, which make up a checkpoint."""

    def __init__(self, model: keras.Model, average: keras.Model, temperature: float, seed: int) -> None:
        """Take a network to train, which takes float32 pixels, and a second one like it to keep the average in."""
        self.model, self.average = model, average
        self.average.set_weights(self.model.get_weights())
        self.optimizer = keras.optimizers.AdamW(LEARNING_RATE, weight_decay=WEIGHT_DECAY)
        self.optimizer.exclude_from_weight_decay(var_names=["gamma", "beta", "bias"])
        self.optimizer.build(self.model.trainable_variables)
        self.temperature = temperature
        self.seed = seed
        # Nothing in them depends on the value of a tensor, which autograph is for.
        self._step = tf.function(self._take_step, input_signature=BATCH, autograph=False)
        self._answer = tf.function(self._predict, input_signature=(PIXELS,), autograph=False)

    def learn(self, number: int, rate: float, *batch: Any) -> tuple[Any, Any]:
        """Learn from pixels, uint8 `[n, r, r, 3]`, targets `[n, classes]` and perhaps the weight of each photo, `[n]`.

        Return the loss and the accuracy.
        """
        self.optimizer.learning_rate.assign(rate)
        pixels, targets, *given = batch
        (weights,) = given or [np.ones(len(pixels), np.float32)]
        loss, accuracy = self._step(number, pixels, targets, weights)
        return loss, accuracy

    def probabilities(self, pixels: Pixels) -> Any:
        """Return the answers of the averaged network, float32 `[n, classes]`."""
        return self._answer(pixels)

    def write(self, file: BinaryIO, epochs: int) -> None:
        """Write a checkpoint: every variable, and the number of finished epochs."""
        arrays: dict[str, Any] = {f"v{number}": np.asarray(v) for number, v in enumerate(self._variables)}
        np.savez(file, epochs=epochs, **arrays)

    def read(self, file: BinaryIO) -> int:
        """Read a checkpoint; return the number of finished epochs."""
        with np.load(file) as checkpoint:
            for number, variable in enumerate(self._variables):
                variable.assign(checkpoint[f"v{number}"])
            return int(checkpoint["epochs"])

    def save(self, path: Path) -> None:
        """Write the averaged weights in Keras' format."""
        self.average.save_weights(path)

    @property
    def _variables(self) -> list[Any]:
        # `variables` includes the state of the dropout, which `weights` does not.
        return [*self.model.variables, *self.average.weights, *self.optimizer.variables]

    def _take_step(self, number: tf.Tensor, pixels: tf.Tensor, targets: tf.Tensor, weights: tf.Tensor) -> Any:
        pixels = jitter_colours(tf.cast(pixels, tf.float32), seed=tf.stack([self.seed, number]))
        with tf.GradientTape() as tape:
            logits = training_logits(self.model, pixels)
            losses = tf.nn.softmax_cross_entropy_with_logits(targets, logits / self.temperature)
            loss = tf.reduce_mean(losses * weights)
        variables = self.model.trainable_variables
        self.optimizer.apply(tape.gradient(loss, variables), variables)
        self._move_average(tf.cast(number, tf.float32))
        right = tf.argmax(logits, -1) == tf.argmax(targets, -1)
        return loss, tf.reduce_mean(tf.cast(right, tf.float32))

    def _move_average(self, number: tf.Tensor) -> None:
        # The average forgets faster at first; otherwise it would keep the random weights for a long time.
        share = 1 - tf.minimum(AVERAGE_DECAY, (1 + number) / (10 + number))
        for average, weight in zip(self.average.weights, self.model.weights, strict=True):
            average.value.assign_add((weight.value - average.value) * share)

    def _predict(self, pixels: tf.Tensor) -> tf.Tensor:
        return self.average(tf.cast(pixels, tf.float32), training=False)


def jitter_colours(pixels: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Change the brightness, contrast and saturation of each image, float32, 0 to 255, by up to 25 %."""
    factors = tf.random.stateless_uniform((3, tf.shape(pixels)[0], 1, 1, 1), seed, 1 - COLOUR_JITTER, 1 + COLOUR_JITTER)
    brightness, contrast, saturation = tf.unstack(factors)
    grey = tf.reduce_mean(pixels, axis=-1, keepdims=True)
    mean = tf.reduce_mean(grey, axis=(1, 2), keepdims=True)
    # The three changes are multiplied out, so that one pass over the pixels is enough.
    rest = brightness * (contrast * (1 - saturation) * grey + (1 - contrast) * mean)
    return tf.clip_by_value(brightness * contrast * saturation * pixels + rest, 0.0, 255.0)


def training_logits(model: keras.Model, outputs: tf.Tensor) -> tf.Tensor:
    """Return the logits of the model in training mode; `outputs` are the pixels that its first layer takes.

    Batch normalisation takes Keras several operations. TensorFlow's fused one trains 1.6 times as fast on a CPU.
    """
    for layer in model.layers[1:-1]:
        if isinstance(layer, keras.layers.BatchNormalization):
            outputs = normalise(layer, outputs)
        else:
            outputs = layer(outputs, training=True)
    return outputs


def normalise(layer: keras.layers.BatchNormalization, inputs: tf.Tensor) -> tf.Tensor:
    """Normalise by the statistics of the batch, and update the moving mean and variance, as the layer itself would."""
    outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
        x=inputs, scale=layer.gamma, offset=layer.beta, mean=[], variance=[], epsilon=layer.epsilon, is_training=True
    )
    for moving, value in ((layer.moving_mean, mean), (layer.moving_variance, variance)):
        moving.assign(moving * layer.momentum + value * (1 - layer.momentum))
    return outputs
