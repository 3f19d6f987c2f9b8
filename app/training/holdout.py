"""Which photos a training does not learn from, so that it can be measured on them."""

from collections.abc import Sequence

import numpy as np


def hold_out(labels: Sequence[int], share: float, seed: int) -> tuple[list[int], list[int]]:
    """Return the indices of the photos to train on, and of those held out: this share of each class, at least one."""
    rng = np.random.default_rng(seed)
    held: list[int] = []
    for label in sorted(set(labels)):
        indices = [index for index, one in enumerate(labels) if one == label]
        count = min(max(1, round(share * len(indices))), len(indices) - 1)
        held += [indices[place] for place in rng.permutation(len(indices))[:count]]
    kept = set(held)
    return [index for index in range(len(labels)) if index not in kept], sorted(held)
