"""The rows that are written: one for each photo, with its classes or its error, and with what they come from."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow

from app.errors import ClientError, ServiceError
from app.model.evidence import Embedding
from app.schemas import Predictions

Row = dict[str, Any]

_CLASS = pyarrow.struct(
    [
        ("class_id", pyarrow.int32()),
        ("wordnet_id", pyarrow.string()),
        ("label", pyarrow.string()),
        ("probability", pyarrow.float64()),
    ]
)
_SCHEMA = pyarrow.schema(
    [
        ("path", pyarrow.string()),
        ("predictions", pyarrow.list_(_CLASS)),
        ("familiarity", pyarrow.float64()),
        ("error", pyarrow.string()),
        ("detail", pyarrow.string()),
        ("macs", pyarrow.int64()),
        ("weights", pyarrow.string()),
        ("weights_sha256", pyarrow.string()),
        ("variant", pyarrow.string()),
        ("precision", pyarrow.string()),
    ]
)


@dataclass(frozen=True, slots=True)
class About:
    """What all rows of a job share: the model, and all else that decides what is written about a photo.

    `macs` are the multiply-accumulates of one image, and `channels` is the length of its embedding, 0 where none is
    asked for. `labels_sha256` and `familiarity_sha256` stand for the names of the classes and for the energies by which
    the familiarity is judged, which lie beside the weights.
    """

    macs: int
    weights: str
    weights_sha256: str
    variant: str
    precision: str
    channels: int
    labels_sha256: str
    familiarity_sha256: str
    engine: str
    max_pixels: int

    @property
    def schema(self) -> Any:
        """The columns of the rows, and their Arrow types."""
        if not self.channels:
            return _SCHEMA
        # A list of one length cannot be read again where a row has none.
        return _SCHEMA.append(pyarrow.field("embedding", pyarrow.list_(pyarrow.float32())))

    def row(self, name: str, result: Predictions | ServiceError | ClientError, embedding: Embedding | None) -> Row:
        """Return the row of a photo. One that failed has no predictions, and cost no multiply-accumulates."""
        row: Row = {
            "path": _text(name),
            "weights": self.weights,
            "weights_sha256": self.weights_sha256,
            "variant": self.variant,
            "precision": self.precision,
        }
        if isinstance(result, Exception):
            return row | {"error": result.code, "detail": _text(result.detail), "macs": 0}
        classes = [one.model_dump() for one in result.predictions]
        row |= {"predictions": classes, "familiarity": result.familiarity, "macs": self.macs}
        return row if embedding is None else row | {"embedding": embedding}


def _text(names: str) -> str:
    """Return what can be written of a text with names of files, which need not be UTF-8."""
    return names.encode(errors="surrogateescape").decode(errors="replace")


def differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    """Return in a line what is not the same in two accounts of a job; nothing if all is."""
    return "; ".join(
        f"{name} {there.get(name)} there and {value} here" for name, value in here.items() if there.get(name) != value
    )
