"""A piece of the work: photos that are classified together, and whose rows are written together or not at all."""

import json
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from typing import Any, Final

from pyarrow import ArrowException

from app.batch import storage
from app.errors import Unreadable
from app.imaging.formats import is_photo

Photo = tuple[str, bytes | Unreadable]
"""The name of a photo, and its content or why it cannot be read."""

_DAMAGED: Final = (OSError, EOFError, tarfile.TarError, zlib.error, ArrowException)


@dataclass(frozen=True, slots=True)
class Files:
    """Photos in files of their own."""

    names: list[str]

    @property
    def count(self) -> int | None:
        """How many photos there are."""
        return len(self.names)

    def photos(self) -> Iterator[Photo]:
        """Read one photo after the other."""
        for name in self.names:
            try:
                yield name, storage.read(name)
            except Unreadable as exc:
                yield name, exc


@dataclass(frozen=True, slots=True)
class Tar:
    """A tar archive, such as a shard of WebDataset, whose members are photos beside other things."""

    archive: str

    @property
    def count(self) -> int | None:
        """None: it is not known before the archive is read."""
        return None

    def photos(self) -> Iterator[Photo]:
        """Read one photo after the other; a damaged archive ends with an error of its own, under its own name."""
        system, path = storage.locate(self.archive)
        try:
            with system.open_input_stream(path, compression=None) as stream:
                yield from self._members(stream)
        except _DAMAGED as exc:
            yield self.archive, Unreadable(str(exc) or type(exc).__name__)

    def _members(self, stream: Any) -> Iterator[Photo]:
        with tarfile.open(fileobj=stream, mode="r|*") as archive:
            while member := archive.next():
                content = archive.extractfile(member) if member.isfile() and is_photo(member.name) else None
                if content is not None:
                    yield f"{self.archive}/{member.name}", content.read()
                archive.members = []  # type: ignore[attr-defined]  # or it keeps them all


@dataclass(frozen=True, slots=True)
class Rows:
    """The photos of a row group of a Parquet file, whose bytes are in a column.

    `names` is the column that names them. Without one they are named by their number in the file, from 0.
    """

    parquet: str
    group: int
    first: int
    column: str
    names: str | None
    rows: int

    @property
    def count(self) -> int | None:
        """How many photos there are."""
        return self.rows

    def photos(self) -> Iterator[Photo]:
        """Read one photo after the other; a damaged file ends with an error of its own, under its own name."""
        from pyarrow import parquet

        system, path = storage.locate(self.parquet)
        columns = [self.column] if self.names is None else [self.column, self.names]
        number = self.first
        try:
            with system.open_input_file(path) as file:
                batches = parquet.ParquetFile(file).iter_batches(FEW, row_groups=[self.group], columns=columns)
                for batch in batches:
                    for row in batch.to_pylist():
                        yield self._photo(row, number)
                        number += 1
        except _DAMAGED as exc:
            yield self.parquet, Unreadable(str(exc))

    def _photo(self, row: dict[str, Any], number: int) -> Photo:
        value, name = row[self.column], row[self.names] if self.names else None
        if isinstance(value, dict):  # as Hugging Face's datasets keep images
            name = name or value.get("path")
            value = value.get("bytes")
        content = Unreadable("there are no bytes in this row") if value is None else value
        return f"{self.parquet}#{number}" if name is None else str(name), content


FEW: Final = 8
"""How many rows of a Parquet file are held as objects at a time."""

Piece = Files | Tar | Rows
_KINDS: Final[dict[str, type[Piece]]] = {fields(kind)[0].name: kind for kind in (Files, Tar, Rows)}
"""The kinds by their first field, by which they are told when they are read again."""


def pack(piece: Piece) -> bytes:
    """Return a piece as a line of JSON."""
    return json.dumps(asdict(piece)).encode() + b"\n"


def unpack(line: bytes) -> Piece:
    """Return the piece that was made a line."""
    found: dict[str, Any] = json.loads(line)
    return _KINDS[next(iter(found))](**found)
