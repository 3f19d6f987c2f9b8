"""A piece of the work: photos that are classified together, and whose rows are written together or not at all."""

import gzip
import json
import tarfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from functools import partial
from io import BufferedReader
from typing import IO, Any, Final, cast

from pyarrow import ArrowException

from app.batch import fetching
from app.batch.fetching import Photo, fetched
from app.batch.storage import reading
from app.errors import Unreadable
from app.imaging.formats import is_photo

Others = Callable[[], Iterable[str]]
"""Returns names of files from all over the job, to see whether other machines give theirs."""

_DAMAGED: Final = (OSError, EOFError, ValueError, LookupError, tarfile.TarError, zlib.error, ArrowException, Unreadable)
"""What a damaged or missing file raises. `Unreachable` is not among them: nothing need be wrong with the file then."""
_GZIP: Final = b"\x1f\x8b"
"""How a compressed archive begins. `tarfile` could read it, but would compare no checksum, and ignore a second part."""
_LONGEST_BYTES: Final = 2**36
"""The most bytes of a member of an archive. `tarfile` would seek the end of a longer one for minutes, or for ever."""


@dataclass(frozen=True, slots=True)
class Files:
    """Photos in files of their own.

    A row of a table that has no path is a pair of its name and what is wrong with it.
    """

    names: list[str | tuple[str, str]]

    @property
    def files(self) -> list[str]:
        """The files that the photos are read from."""
        return [name for name in self.names if isinstance(name, str)]

    @property
    def count(self) -> int | None:
        """How many photos there are."""
        return len(self.names)

    def photos(self, others: Others) -> Iterator[Photo]:
        """Read one photo after the other. Raises `Unreachable` if another machine does not give them, nor the others.

        Where the others are given, a photo that is not has `Unreachable` as its content.
        """
        yield from fetched(self.files, others)
        yield from ((name[0], Unreadable(name[1])) for name in self.names if not isinstance(name, str))


@dataclass(frozen=True, slots=True)
class Tar:
    """A tar archive, such as a shard of WebDataset, whose members are photos beside other things."""

    archive: str

    @property
    def files(self) -> list[str]:
        """The file that the photos are read from."""
        return [self.archive]

    @property
    def count(self) -> int | None:
        """None: it is not known before the archive is read."""
        return None

    def photos(self, others: Others) -> Iterator[Photo]:
        """Read one photo after the other; a damaged archive ends with an error of its own, under its own name.

        Raises `Unreachable`.
        """
        try:
            with reading.opened(self.archive) as file:
                packed = file.peek(len(_GZIP)).startswith(_GZIP)
                yield from self._members(gzip.GzipFile(fileobj=file) if packed else file)
        except _DAMAGED as exc:
            yield self.archive, Unreadable(str(exc) or type(exc).__name__)

    def _members(self, file: BufferedReader | gzip.GzipFile) -> Iterator[Photo]:
        with tarfile.open(fileobj=file, mode="r|*", tarinfo=_Header) as archive:
            while member := archive.next():
                if (member.isfile() or _is_link(member)) and is_photo(member.name):
                    yield _photo(f"{self.archive}/{member.name}", partial(_content, archive, member))
                archive.members = []  # type: ignore[attr-defined]  # else every header stays in memory
            stream = cast("IO[bytes]", archive.fileobj)
            while block := stream.read(tarfile.RECORDSIZE):
                if block.strip(b"\0"):
                    raise tarfile.ReadError("there is more behind the end of the archive, such as another one")


class _Header(tarfile.TarInfo):
    """The header of a member. `tarfile` treats a damaged header as the end of the archive; here it is an error.

    The end is a block of zeros.
    """

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> "_Header":
        try:
            header = super().fromtarfile(archive)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]  # the block of zeros; unknown to typeshed
            raise
        except tarfile.HeaderError as exc:
            raise tarfile.ReadError(f"the archive is damaged or cut off: {exc}") from exc
        if not 0 <= header.size <= _LONGEST_BYTES:
            raise tarfile.ReadError(f"the archive is damaged: a file in it has {header.size:,} bytes")
        return header


def _is_link(member: tarfile.TarInfo) -> bool:
    """Whether a member is only a name of another file, as GNU tar keeps all names but the first of a linked file."""
    return member.islnk() or member.issym()


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    if _is_link(member):  # what it leads to is behind, where a stream cannot go again, or not in the archive at all
        raise Unreadable(f"this is a link to {member.linkname}; the archive must hold the file itself")
    reading.check_size(member.size, fetching.LARGEST_BYTES)
    return cast("IO[bytes]", archive.extractfile(member)).read()


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
    def files(self) -> list[str]:
        """The file that the photos are read from."""
        return [self.parquet]

    @property
    def count(self) -> int | None:
        """How many photos there are."""
        return self.rows

    def photos(self, others: Others) -> Iterator[Photo]:
        """Read one photo after the other; a damaged file ends with an error of its own, under its own name.

        Raises `Unreachable`.
        """
        from pyarrow import parquet

        columns = [self.column] if self.names is None else [self.column, self.names]
        number = self.first
        try:
            with reading.opened(self.parquet) as file:  # a page is read at a time, as the whole group may be too large
                table = parquet.ParquetFile(file, buffer_size=BUFFER_BYTES, pre_buffer=False)
                for batch in table.iter_batches(FEW, row_groups=[self.group], columns=columns):
                    for row in batch.to_pylist():
                        yield self._named(row, number)
                        number += 1
        except _DAMAGED as exc:
            yield self.parquet, Unreadable(str(exc) or type(exc).__name__)

    def _named(self, row: dict[str, Any], number: int) -> Photo:
        value, name = row[self.column], row[self.names] if self.names else None
        if isinstance(value, dict):  # as Hugging Face's datasets keep images
            name = name or value.get("path")
            value = value.get("bytes")
        return _photo(f"{self.parquet}#{number}" if name is None else str(name), partial(_bytes, value))


def _bytes(value: bytes | None) -> bytes:
    if value is None:
        raise Unreadable("there are no bytes in this row")
    reading.check_size(len(value), fetching.LARGEST_BYTES)
    return value


def _photo(name: str, read: Callable[[], bytes]) -> Photo:
    try:
        return name, read()
    except Unreadable as exc:
        return name, exc


FEW: Final = 8
"""How many rows of a Parquet file are held as objects at a time."""
BUFFER_BYTES: Final = 2**20
"""How much of a column of a Parquet file is read at a time."""

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
