"""The plan of the trainings: one goes on at a steady learning rate, and those of each length start from copies of it.

After a warm-up, the learning rate is constant for as long as one likes. For the result of a training of E epochs, the
state after 3/4 · E epochs is copied, and the copy is trained on while the rate falls to 0. So trainings of 4, 8, 16, …
epochs share their beginning, and a longer one can be added later. Hägele et al. 2024, arXiv:2405.18392, found for
language models that such trainings end as well as those whose rate falls by a cosine.
"""

import math
from collections.abc import Callable

Rate = Callable[[float], float]
"""Returns the learning rate after so many epochs, which need not be whole."""

HIGHEST_RATE = 3e-3
WARM_UP = 0.5
"""The epochs in which the rate rises from 0."""
SHORTEST = 4
"""The epochs of the shortest training; each of the others has twice the epochs of the one before."""


def steady_rate(epochs: float) -> float:
    """Return the learning rate of the steady training after so many epochs."""
    return HIGHEST_RATE * min(1.0, epochs / WARM_UP)


def branch_epoch(length: int) -> int:
    """Return the number of epochs after which a training of `length` epochs leaves the steady one."""
    return length * 3 // 4


def falling_rate(length: int) -> Rate:
    """Return the learning rate of a training of `length` epochs from `branch_epoch` on; it falls by a square root."""
    start = branch_epoch(length)
    return lambda epochs: HIGHEST_RATE * (1 - math.sqrt((epochs - start) / (length - start)))


def lengths(longest: int) -> list[int]:
    """Return the lengths of the trainings, in epochs, from `SHORTEST` to `longest`.

    Raises `ValueError` if `longest` is none of them.
    """
    found = [SHORTEST]
    while found[-1] < longest:
        found.append(2 * found[-1])
    if found[-1] != longest:
        raise ValueError(f"a training has {SHORTEST}, {2 * SHORTEST}, {4 * SHORTEST}, … epochs, and not {longest}")
    return found
