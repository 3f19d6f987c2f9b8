"""The folder that a job writes: a file of rows for each piece, named by its number, and the job itself in `_job`.

Readers of Parquet pass over names that begin with an underscore or a dot. A file of rows is there as a whole or not at
all, so a piece is done if its file is there and has a row for each photo.
"""

import io
import json
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal

import pyarrow
from pyarrow import parquet

from app.batch.piece import Piece
from app.batch.row import About, Row
from app.batch.storage import reading, writing
from app.batch.storage.asking import patiently
from app.batch.tally import Tally

Form = Literal["parquet", "jsonl"]
FOLDER: Final = "_job"
COUNTED: Final = ("path", "predictions", "error", "macs")


@dataclass(frozen=True, slots=True)
class Sink:
    """Where the rows of a job go, and in which form. `folder` is an absolute path or a URL."""

    folder: str
    form: Form

    def file(self, number: int) -> str:
        """Return the name of the file of a piece."""
        return f"{self.folder}/part-{number:06}.{self.form}"

    def of_job(self, name: str) -> str:
        """Return the name of a file about the job."""
        return f"{self.folder}/{FOLDER}/{name}"

    def write(self, number: int, rows: list[Row], about: About) -> None:
        """Write the rows of a piece. Raises `OSError`, or `Unreachable` after some time."""
        writing.write(self.file(number), _parquet(rows, about) if self.form == "parquet" else _lines(rows, about))

    def written(self, number: int, piece: Piece) -> Tally | None:
        """Return what is counted of a piece whose rows are all written; None if they are not.

        Raises `Unreadable`, or `Unreachable` after some time.
        """
        name = self.file(number)
        if not reading.exists(name):
            return None
        try:
            rows = _rows(patiently(partial(reading.read, name)), self.form)
            if not _all_of(piece, rows):
                return None
            tally = Tally.of(rows)
        except (ValueError, LookupError, TypeError, pyarrow.ArrowException):  # these are not rows: it is damaged
            return None
        tally.already = tally.photos
        return tally


def _all_of(piece: Piece, rows: list[Row]) -> bool:
    """Whether a piece has no more rows than these. Those of a damaged archive or table end with its own error."""
    return bool(rows) and (len(rows) >= (piece.count or 0) or [rows[-1]["path"]] == piece.files)


def _parquet(rows: list[Row], about: About) -> bytes:
    buffer = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(rows, about.schema), buffer, compression="zstd")
    return buffer.getvalue()


def _lines(rows: list[Row], about: About) -> bytes:
    names = about.schema.names
    return "".join(f"{json.dumps(_plain(row, names))}\n" for row in rows).encode()


def _plain(row: Row, names: list[str]) -> dict[str, Any]:
    """Return a row in the order of the columns, with the embedding as numbers of Python."""
    plain = {name: row.get(name) for name in names}
    embedding = row.get("embedding")
    return plain if embedding is None else plain | {"embedding": embedding.tolist()}


def _rows(content: bytes, form: Form) -> list[Row]:
    if form == "jsonl":
        return [json.loads(line) for line in content.splitlines()]
    table = parquet.read_table(pyarrow.BufferReader(content), columns=list(COUNTED))
    rows: list[Row] = table.to_pylist()
    return rows
