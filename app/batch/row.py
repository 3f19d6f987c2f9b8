"""The rows that are written: one for each photo, with its classes or its error, and with what they come from."""

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
    """What all rows of a job share: the model, the multiply-accumulates of one image, the length of its embedding.

    `channels` is 0 where no embeddings are asked for.
    """

    macs: int
    weights: str
    weights_sha256: str
    variant: str
    precision: str
    channels: int = 0

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
            "path": name.encode(errors="surrogateescape").decode(errors="replace"),
            "weights": self.weights,
            "weights_sha256": self.weights_sha256,
            "variant": self.variant,
            "precision": self.precision,
        }
        if isinstance(result, Exception):
            return row | {"error": result.code, "detail": result.detail, "macs": 0}
        classes = [one.model_dump() for one in result.predictions]
        row |= {"predictions": classes, "familiarity": result.familiarity, "macs": self.macs}
        return row if embedding is None else row | {"embedding": embedding}
