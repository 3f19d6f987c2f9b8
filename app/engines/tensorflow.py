"""The reference engine: the same network in TensorFlow. Importing this module imports TensorFlow."""

from collections.abc import Sequence
from contextlib import suppress

import numpy as np
import tensorflow as tf

from app.engines.base import Features, Head, Pixels, Predictions
from app.engines.keras.reader import read
from app.engines.tflite.interface import predictions
from app.engines.weights import Weights
from app.mobilenet.network import build, with_features
from app.mobilenet.variants import Precision, Variant


class TensorFlowEngine:
    """The Keras network as a TensorFlow graph, which takes batches of any size."""

    name = "tensorflow"
    precision: Precision = "float32"

    def __init__(self, weights: Weights, variant: Variant, threads: int) -> None:
        """Build the network and load the weights. Raises `StartError` for a wrong weight file."""
        arrays = read(weights.path, variant.alpha)
        self.classes, self.channels = len(arrays[-1]), arrays[-2].shape[-2]
        self.head = Head(arrays[-2].reshape(self.channels, self.classes).astype(np.float32), arrays[-1])
        # TensorFlow accepts these only before its first operation; engines loaded later share the same threads.
        with suppress(RuntimeError):
            tf.config.threading.set_intra_op_parallelism_threads(threads)
            tf.config.threading.set_inter_op_parallelism_threads(1)
        network = build(variant.alpha, variant.resolution, self.classes)
        network.set_weights(arrays)
        signature = tf.TensorSpec((None, variant.resolution, variant.resolution, 3), tf.uint8)
        observed = with_features(network, scaled=False)
        self._call = tf.function(lambda pixels: observed(pixels, training=False), input_signature=[signature])

    def predict(self, images: Sequence[Pixels]) -> Predictions:
        """Return the predictions for n images."""
        return self.observe(images)[0]

    def observe(self, images: Sequence[Pixels]) -> tuple[Predictions, Features]:
        """Return the predictions for n images, and their features."""
        logits, features = self._call(tf.constant(np.stack(images)))
        return predictions(logits.numpy()), features.numpy()
