"""The network that a training starts from: features of other weights, and a classifier that is fitted to them first."""

from collections.abc import Callable, Iterable
from functools import partial

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from app.engines.base import Head, Pixels
from app.engines.keras.reader import read
from app.mobilenet import network
from app.training import start
from app.training.recipe import Recipe

Floats = NDArray[np.float32]

PIXELS = tf.TensorSpec((None, None, None, 3), tf.float32)
DROPOUT = 0.2
CLASSIFIER_ARRAYS = 2
"""The kernel and the bias."""
HEAD_EPOCHS = 40
HEAD_BATCH = 128
HEAD_RATE = 1e-2
HEAD_DECAY = 1.0
HEAD_FLOOR = 0.2
"""Features that hardly vary are not scaled up: this share of the mean deviation is added to the deviation of each."""


def built(recipe: Recipe, classes: int) -> keras.Model:
    """Build the network for images of any size, which takes float32 pixels, with the features that the recipe names.

    Raises `StartError` if there are no such weights, or if they have another α.
    """
    model = empty(recipe.alpha, classes)
    path = start.file(recipe)
    if path is not None:
        features = read(path, recipe.alpha)[:-CLASSIFIER_ARRAYS]
        model.set_weights([*features, *model.get_weights()[-CLASSIFIER_ARRAYS:]])
    return model


def empty(alpha: float, classes: int) -> keras.Model:
    """Build the network for images of any size, which takes float32 pixels, with random weights."""
    return network.build(alpha, None, classes, input_dtype="float32", dropout=DROPOUT)


def features_of(model: keras.Model) -> keras.Model:
    """Return the part of the network that ends in the averages over the last feature map, `[n, 1, 1, channels]`."""
    return keras.Model(model.input, model.get_layer("global_average_pooling").output)


def answering(model: keras.Model) -> Callable[[Floats], tf.Tensor]:
    """Return what answers to a batch of any size and resolution, float32; it is traced only once."""
    answer: Callable[[Floats], tf.Tensor] = tf.function(
        partial(model, training=False), input_signature=[PIXELS], autograph=False
    )
    return answer


def recentre(model: keras.Model, batches: Iterable[Pixels]) -> None:
    """Have every batch normalisation keep the statistics of these photos, without a change of what the network answers.

    In training a layer normalises by the statistics of the batch. Those that it came with are of other photos, or, in
    published weights, of none; so its first answers in training would be those of another network, and the first steps
    would spoil what it has learnt elsewhere. Here its scale and offset make up for the new statistics.
    """
    layers = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    inputs = keras.Model(model.input, [layer.input for layer in layers])
    moments = tf.function(
        lambda pixels: [tf.nn.moments(one, (0, 1, 2)) for one in inputs(pixels, training=False)],
        input_signature=[PIXELS],
        autograph=False,
    )
    found = [moments(pixels.astype(np.float32)) for pixels in batches]
    for layer, each in zip(layers, zip(*found, strict=True), strict=True):
        means, variances = (np.stack([np.asarray(one[part]) for one in each]) for part in (0, 1))
        _restate(layer, means.mean(axis=0), variances.mean(axis=0) + means.var(axis=0))


def _restate(layer: keras.layers.BatchNormalization, mean: Floats, variance: Floats) -> None:
    gamma, beta, old_mean, old_variance = map(np.asarray, layer.get_weights())
    scale = gamma / np.sqrt(old_variance + layer.epsilon)
    layer.set_weights([scale * np.sqrt(variance + layer.epsilon), beta + scale * (mean - old_mean), mean, variance])


def fit_head(features: Floats, targets: Floats, weights: Floats, seed: int) -> Head:
    """Fit a classifier to features `[n, channels]`; return its kernel `[channels, classes]` and its bias `[classes]`.

    `weights` `[n]` say how much a mistake with each counts. The features are brought to one scale for the fit, and the
    scale is then folded into the kernel. Its kernel stays small, which a training of all layers needs to begin with.
    """
    mean, deviation = features.mean(axis=0), features.std(axis=0)
    deviation += HEAD_FLOOR * deviation.mean()
    keras.utils.set_random_seed(seed)
    inputs = keras.Input(features.shape[1:])
    head = keras.Model(inputs, keras.layers.Dense(targets.shape[1], kernel_initializer="zeros")(inputs))
    steps = HEAD_EPOCHS * -(-len(features) // HEAD_BATCH)
    rate = keras.optimizers.schedules.CosineDecay(HEAD_RATE, steps)
    head.compile(
        keras.optimizers.AdamW(rate, weight_decay=HEAD_DECAY), keras.losses.CategoricalCrossentropy(from_logits=True)
    )
    scaled = (features - mean) / deviation
    head.fit(scaled, targets, HEAD_BATCH, HEAD_EPOCHS, verbose=0, sample_weight=weights)
    kernel, bias = head.get_weights()
    kernel = kernel / deviation[:, None]
    return Head(kernel, bias - mean @ kernel)


def set_head(model: keras.Model, head: Head) -> None:
    """Give the network this classifier."""
    model.set_weights([*model.get_weights()[:-CLASSIFIER_ARRAYS], head.kernel[None, None], head.bias])


def prepare(seed: int) -> None:
    """Have the same seed give the same weights: no operation may add numbers in an order that threads decide.

    TensorFlow's optimiser of graphs is switched off. It takes a second or two of each graph, which are then no faster.
    """
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
