"""What the class indices of a model mean: their WordNet ids and labels, and how to pick the k most probable."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.errors import StartError


@dataclass(frozen=True, slots=True)
class Label:
    """One class. `wordnet_id` is None for a class that has no entry in WordNet."""

    class_id: int
    wordnet_id: str | None
    label: str


Labels = tuple[Label, ...]
FEW = 256
"""Up to so many classes sorting all is quicker; of 1,000 a partition finds the best in a third of the time."""


def load(path: Path) -> Labels:
    """Read the labels from a text file with one class on each line, or from a JSON list of strings, in class order.

    A class is either a label, or a WordNet id, a tab and a label. Raises `StartError` for anything else.
    """
    try:
        text = path.read_text(encoding="utf-8")
        classes = json.loads(text) if path.suffix == ".json" else text.splitlines()
    except (OSError, ValueError) as exc:
        raise StartError(f"cannot read the labels {path}: {exc}") from exc
    if not isinstance(classes, list) or not all(isinstance(name, str) and name.strip() for name in classes):
        raise StartError(f"the labels {path} must be a JSON list of strings, or text with one class on each line")
    return tuple(_parse(index, line) for index, line in enumerate(classes))


def _parse(index: int, line: str) -> Label:
    wordnet_id, tab, label = line.partition("\t")
    return Label(index, wordnet_id.strip(), label.strip()) if tab else Label(index, None, line.strip())


def top_k(probabilities: NDArray[np.float32], k: int) -> list[tuple[int, float]]:
    """Return the indices of the `k` most probable of `[classes]` with their probabilities, most probable first.

    Probabilities are rounded to seven significant digits, which is what a float32 holds.
    """
    # A stable sort, so that classes of equal probability keep their order whatever k is.
    if len(probabilities) <= FEW:
        best = (-probabilities).argsort(kind="stable")[:k]
    else:
        candidates = np.flatnonzero(probabilities >= np.partition(probabilities, -k)[-k])
        best = candidates[(-probabilities[candidates]).argsort(kind="stable")[:k]]
    shares = probabilities[best].tolist()
    return [(index, float(f"{share:.7g}")) for index, share in zip(best.tolist(), shares, strict=True)]
