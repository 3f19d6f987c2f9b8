"""What the class indices mean: index to WordNet id and label, and the k most probable of them."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.errors import StartError


@dataclass(frozen=True, slots=True)
class Label:
    """One class. `wordnet_id` is None for classes outside WordNet."""

    class_id: int
    wordnet_id: str | None
    label: str


Labels = tuple[Label, ...]
FEW = 256
"""Up to so many classes, sorting all is quicker than a partition."""


def load(path: Path) -> Labels:
    """Read labels in the order of the classes: text with a class a line, or a JSON list of strings.

    A class is a label, or a WordNet id, a tab and a label. Raises `StartError` for anything else.
    """
    try:
        text = path.read_text(encoding="utf-8")
        classes = json.loads(text) if path.suffix == ".json" else text.splitlines()
    except (OSError, ValueError) as exc:
        raise StartError(f"cannot read the labels {path}: {exc}") from exc
    if not isinstance(classes, list) or not all(isinstance(name, str) and name.strip() for name in classes):
        raise StartError(f"the labels {path} are neither a JSON list of strings nor text with a class a line")
    return tuple(_parse(index, line) for index, line in enumerate(classes))


def _parse(index: int, line: str) -> Label:
    wordnet_id, tab, label = line.partition("\t")
    return Label(index, wordnet_id.strip(), label.strip()) if tab else Label(index, None, line.strip())


def top_k(probabilities: NDArray[np.float32], k: int) -> list[tuple[int, float]]:
    """Return the `k` most probable class indices of `[classes]`, with their probabilities, best first.

    Probabilities have the seven significant digits of a float32, and no more.
    """
    candidates = _at_least_the_kth(probabilities, k)
    # Stable, so that equal probabilities come in the order of the classes, whatever the k.
    best = candidates[(-probabilities[candidates]).argsort(kind="stable")[:k]]
    shares = probabilities[best].tolist()
    return [(index, float(f"{share:.7g}")) for index, share in zip(best.tolist(), shares, strict=True)]


def _at_least_the_kth(probabilities: NDArray[np.float32], k: int) -> NDArray[np.intp]:
    """Return the indices, ascending, of values of which the k largest are some: few more than k where there are many.

    A partition takes a third of the time of sorting 1,000 classes; a few are sorted at once, so all are returned.
    """
    if k >= len(probabilities) or len(probabilities) <= FEW:
        return np.arange(len(probabilities))
    kth = np.partition(probabilities, -k)[-k]
    return np.flatnonzero(probabilities >= kth)
