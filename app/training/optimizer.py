"""Adam with decoupled weight decay (Loshchilov and Hutter 2019, arXiv:1711.05101), as one operation a variable.

The steps are those of `keras.optimizers.AdamW`. That one adds a dozen operations for each of some eighty variables to
the graph of a training step, and preparing the step takes twice as long.
"""

from collections.abc import Sequence

import keras
import tensorflow as tf

DECAY = 0.02
DECAYED = "kernel"
"""What the names of the variables that decay end in; scales, offsets and biases do not decay."""
MOMENTUM, MOMENTUM_OF_SQUARES = 0.9, 0.999
EPSILON = 1e-7
"""Keeps from a division by zero."""


class AdamW:
    """Changes variables by their gradients. Its own variables are part of a checkpoint."""

    def __init__(self, variables: Sequence[keras.Variable]) -> None:
        self.learning_rate = tf.Variable(0.0)
        self._steps = tf.Variable(0.0)
        self._means, self._squares = ([tf.Variable(tf.zeros(one.shape)) for one in variables] for _ in range(2))

    @property
    def variables(self) -> list[tf.Variable]:
        """What it keeps from one step to the next."""
        return [self._steps, *self._means, *self._squares]

    def apply(self, gradients: Sequence[tf.Tensor], variables: Sequence[keras.Variable]) -> None:
        """Take a step at `learning_rate`; the variables are those that it was made for."""
        rate, steps = self.learning_rate.read_value(), self._steps.assign_add(1.0)
        for gradient, variable, mean, square in zip(gradients, variables, self._means, self._squares, strict=True):
            weights = variable.value
            if variable.name.endswith(DECAYED):
                weights.assign(weights * (1 - rate * DECAY))
            tf.raw_ops.ResourceApplyAdam(
                var=weights.handle,
                m=mean.handle,
                v=square.handle,
                beta1_power=MOMENTUM**steps,
                beta2_power=MOMENTUM_OF_SQUARES**steps,
                lr=rate,
                beta1=MOMENTUM,
                beta2=MOMENTUM_OF_SQUARES,
                epsilon=EPSILON,
                grad=gradient,
            )
