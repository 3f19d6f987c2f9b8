"""The network in training: one step of learning, the moving average of the weights, and its accuracy."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tools.views import CENTRAL_CROP, FEATURES, Indices, Photos, Pixels, crop

REPORT = (128, 160, 192, 224)
"""The resolutions that the weights are for."""
BATCH = 64
COLOUR_JITTER = 0.25
LEARNING_RATE = 3e-3
WEIGHT_DECAY = 0.02
AVERAGE_DECAY = 0.999


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Photos kept out of the training as the service sees them, `[n, r, r, 3]` by r, and their classes `[n]`."""

    pixels: dict[int, Pixels]
    labels: Indices

    @classmethod
    def of(cls, photos: Photos, indices: Indices, resolutions: Sequence[int] = REPORT) -> "HeldOut":
        """Crop and resize these photos to every one of the resolutions."""
        pixels = {r: np.stack([crop(photos.pixels[i], CENTRAL_CROP, r) for i in indices]) for r in resolutions}
        return cls(pixels, photos.labels[indices])


class Trainer:
    """The network, the moving average of its weights, and the optimiser: all that a checkpoint holds."""

    average_decay = AVERAGE_DECAY

    def __init__(
        self,
        build: Callable[[], keras.Model],
        temperature: float,
        seed: int,
        begin: Callable[[keras.Model], None] | None = None,
    ) -> None:
        """Make the network, which takes float32 pixels; seed Keras before, as `build` draws the weights.

        `begin` gives the network other weights than those.
        """
        self.model = build()
        if begin is not None:
            begin(self.model)
        self.average = build()
        self.average.set_weights(self.model.get_weights())
        self.optimizer = keras.optimizers.AdamW(LEARNING_RATE, weight_decay=WEIGHT_DECAY)
        self.optimizer.exclude_from_weight_decay(var_names=["gamma", "beta", "bias"])
        self.optimizer.build(self.learning)
        self.temperature = temperature
        self.seed = seed
        self.step = tf.function(self._step)
        self.predict = tf.function(self._predict)

    @property
    def learning(self) -> list[Any]:
        """The variables that are trained."""
        return list(self.model.trainable_variables)

    @property
    def variables(self) -> list[Any]:
        """Every variable, in a fixed order."""
        return [*self.model.weights, *self.average.weights, *self.optimizer.variables]

    def _step(self, number: tf.Tensor, pixels: tf.Tensor, targets: tf.Tensor, *more: tf.Tensor) -> Any:
        """Learn from batch `number` of all, counted from 0; return its loss and accuracy.

        TensorFlow traces this once a resolution.
        """
        pixels = jitter_colours(tf.cast(pixels, tf.float32), seed=tf.stack([self.seed, number]))
        with tf.GradientTape() as tape:
            logits, features = training_outputs(self.model, pixels)
            loss = self.loss(logits, features, targets, *more)
        gradients = tape.gradient(loss, self.learning)
        self.optimizer.apply(gradients, self.learning)
        self._move_average(tf.cast(number, tf.float32))
        right = tf.argmax(logits, -1) == tf.argmax(targets, -1)
        return loss, tf.reduce_mean(tf.cast(right, tf.float32))

    def loss(self, logits: tf.Tensor, features: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        """Return how far the logits `[n, classes]` are from the targets, in nats; `features` are for others."""
        return tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(targets, logits / self.temperature))

    def _move_average(self, number: tf.Tensor) -> None:
        # A young average forgets faster, or it would long remember the random weights.
        decay = tf.minimum(self.average_decay, (1 + number) / (10 + number))
        for average, weight in zip(self.average.weights, self.model.weights, strict=True):
            average.assign(average * decay + weight * (1 - decay))

    def _predict(self, pixels: tf.Tensor) -> tf.Tensor:
        """Return the averaged network's probabilities, float32 `[n, classes]`."""
        return self.average(tf.cast(pixels, tf.float32), training=False)

    def evaluate(self, held_out: HeldOut, resolution: int) -> tuple[float, float]:
        """Return the averaged network's cross-entropy in nats and its top-1 accuracy, 0 to 1."""
        pixels, labels = held_out.pixels[resolution], held_out.labels
        parts = [self.predict(pixels[start : start + BATCH]) for start in range(0, len(pixels), BATCH)]
        probabilities = np.concatenate(parts)
        loss = -np.log(probabilities[np.arange(len(labels)), labels] + 1e-9).mean()
        return float(loss), float(np.mean(probabilities.argmax(-1) == labels))


def jitter_colours(pixels: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Change brightness, contrast and saturation of each image, float32 0 to 255, by up to 25 %."""
    factors = tf.random.stateless_uniform((3, tf.shape(pixels)[0], 1, 1, 1), seed, 1 - COLOUR_JITTER, 1 + COLOUR_JITTER)
    brightness, contrast, saturation = tf.unstack(factors)
    grey = tf.reduce_mean(pixels, axis=-1, keepdims=True)
    mean = tf.reduce_mean(grey, axis=(1, 2), keepdims=True)
    # The three blends multiplied out: one pass over the pixels, not three.
    rest = brightness * (contrast * (1 - saturation) * grey + (1 - contrast) * mean)
    return tf.clip_by_value(brightness * contrast * saturation * pixels + rest, 0.0, 255.0)


def training_outputs(model: keras.Model, outputs: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Run the chain of layers in training mode; return the logits `[n, classes]` and the pooled features `[n, f]`.

    Keras normalises in several operations; TensorFlow's fused one trains 1.6 times as fast on a CPU.
    """
    features = outputs
    for layer in model.layers[1:-1]:
        if isinstance(layer, keras.layers.BatchNormalization):
            outputs = normalise(layer, outputs)
        else:
            outputs = layer(outputs, training=True)
        if layer.name == FEATURES:
            features = tf.squeeze(outputs, (1, 2))
    return outputs, features


def normalise(layer: keras.layers.BatchNormalization, inputs: tf.Tensor) -> tf.Tensor:
    """Normalise by the batch and update the layer's moving mean and variance, as the layer would."""
    outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
        x=inputs, scale=layer.gamma, offset=layer.beta, mean=[], variance=[], epsilon=layer.epsilon, is_training=True
    )
    for moving, value in ((layer.moving_mean, mean), (layer.moving_variance, variance)):
        moving.assign(moving * layer.momentum + value * (1 - layer.momentum))
    return outputs
