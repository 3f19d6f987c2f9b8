"""What the class indices of a model mean: their WordNet ids and labels, and how to pick the k most probable."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.errors import StartError, why


@dataclass(frozen=True, slots=True)
class Label:
    """One class. `wordnet_id` is None for a class that has no entry in WordNet."""

    class_id: int
    wordnet_id: str | None
    label: str


Labels = tuple[Label, ...]
FEW = 256
"""For up to so many classes, sorting them all is fastest; for 1,000, a partition first takes a third of the time."""
SURROGATE = re.compile("[\ud800-\udfff]")
WORDNET_ID = re.compile("n[0-9]{8}")


def load(path: Path) -> Labels:
    """Read the labels of the classes, in class order, from a text file or a JSON file.

    A text file has one class on each line: a label, or a WordNet id, a tab and a label. JSON is a list of classes, or
    an object from class indices to classes, like the class index of Keras: `{"0": ["n01440764", "tench"], …}`. There a
    class is a label, or a list of a WordNet id and a label. A byte order mark, and blank lines at the end, are
    ignored. Raises `StartError` for anything else.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        classes = _in_order(json.loads(text)) if path.suffix == ".json" else text.rstrip().splitlines()
    except (OSError, ValueError, RecursionError) as exc:
        raise StartError(f"cannot read the labels {path}: {why(exc)}") from exc
    allowed = (
        f"the labels {path} must be text with one class on each line, or a JSON list or object of classes 0, 1, 2 …"
    )
    if not isinstance(classes, list) or not classes:
        raise StartError(allowed)
    parts = [_parts(one) for one in classes]
    wrong = next((index for index, found in enumerate(parts) if not all(map(_is_text, found))), None)
    if wrong is not None:
        raise StartError(f"{allowed}; class {wrong} is blank, or not text")
    for index, (*ids, _) in enumerate(parts):
        if ids and not WORDNET_ID.fullmatch(ids[0].strip()):
            place = f"class {index}" if path.suffix == ".json" else f"line {index + 1}"
            raise StartError(
                f"{allowed}; {place} has {ids[0]!r} in front of the label, where only a WordNet id such as n01440764 "
                "is allowed"
            )
    return tuple(_label(index, *found) for index, found in enumerate(parts))


def _in_order(found: Any) -> Any:
    """Return the values of an object whose names are 0, 1, 2 … as a list in that order; return all else as it is."""
    if isinstance(found, dict) and found.keys() == set(map(str, range(len(found)))):
        return [found[str(index)] for index in range(len(found))]
    return found


def _parts(one: Any) -> list[Any]:
    """Return the label of a class, after its WordNet id if it has one."""
    if isinstance(one, list) and len(one) == 2:
        return one
    return one.split("\t", 1) if isinstance(one, str) else [one]


def _is_text(part: Any) -> bool:
    """Whether this is text that can be sent: JSON may have halves of characters, which UTF-8 has not."""
    return isinstance(part, str) and bool(part.strip()) and not SURROGATE.search(part)


def _label(index: int, *parts: str) -> Label:
    *wordnet_id, label = (part.strip() for part in parts)
    return Label(index, wordnet_id[0] if wordnet_id else None, label)


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
