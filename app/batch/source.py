"""From the sources that a user names to pieces of work, without holding the names of all photos."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from app.batch.piece import Files, Piece, Rows, Tar
from app.batch.storage import finding, reading
from app.batch.storage.names import is_remote
from app.errors import StartError, Unreachable, Unreadable, without_password
from app.imaging.formats import SUFFIXES, is_photo

TARS: Final = (".tar", ".tar.gz", ".tgz")
PARQUET: Final = ".parquet"
IMAGES: Final = "bytes"
"""The field of a struct with the bytes of an image, as Hugging Face's datasets keep them."""
MANY: Final = 8192
"""How many names of a Parquet file are held at a time."""
NO_PATH: Final = "there is no path in this row"

Name = str | tuple[str, str]
"""The name of a photo; or that of a row of a table without a path, and what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Source:
    """What the command line names, how many photos make a piece, and which columns of Parquet files are meant."""

    arguments: tuple[str, ...]
    size: int
    column: str | None = None
    names: str | None = None

    @property
    def far(self) -> bool:
        """Whether photos may have to be fetched from another machine, such as those whose URLs are in a table."""
        return any(is_remote(name) or _is_parquet(name) for name in self.arguments)

    def pieces(self) -> Iterator[Piece]:
        """Yield the work, piece by piece. Raises `StartError` for a source without photos."""
        waiting: list[Name] = []
        for found in self._found():
            if not isinstance(found, str | tuple):
                yield found
                continue
            waiting.append(found)
            if len(waiting) == self.size:
                yield Files(waiting)
                waiting = []
        if waiting:
            yield Files(waiting)

    def _found(self) -> Iterator[Name | Piece]:
        """Yield the name of each photo, and what has many of them."""
        for argument in self.arguments:
            nothing = True
            for name in finding.find(argument):
                for found in self._in(name, named=name == argument):
                    nothing = False
                    yield found
            if nothing:
                raise StartError(
                    f"there are no photos in {without_password(argument)}; names of photos end with "
                    f"{', '.join(sorted(SUFFIXES))}, and of files with many of them with {', '.join((*TARS, PARQUET))}"
                )

    def _in(self, name: str, named: bool) -> Iterator[Name | Piece]:
        """Yield what a file is or has; a file that the user names is a photo whatever its name ends with."""
        if name.lower().endswith(TARS):
            yield Tar(name)
        elif _is_parquet(name):
            yield from self._of_table(name)
        elif named or is_photo(name):
            yield name

    def _of_table(self, name: str) -> Iterator[Name | Piece]:
        from pyarrow import ArrowException, parquet

        try:
            with reading.opened(name) as file:
                table = parquet.ParquetFile(file)
                column, kind = self._column(name, table.schema_arrow)
                yield from self._names(name, table, column) if _is_text(kind) else self._groups(name, table, column)
        except Unreachable as exc:
            raise StartError(str(exc)) from exc
        except (OSError, Unreadable, ArrowException) as exc:
            raise StartError(f"{without_password(name)} cannot be read: {exc}") from exc

    def _column(self, name: str, schema: Any) -> tuple[str, Any]:
        """Return the column of photos, and its type: the one that is named, else the only one that it can be."""
        wanted = [one for one in (self.column, self.names) if one is not None]
        if missing := [one for one in wanted if one not in schema.names]:
            raise StartError(f"{without_password(name)} has no column {missing[0]!r}; it has {', '.join(schema.names)}")
        if self.column is not None:
            kind = schema.field(self.column).type
            if not (_holds_bytes(kind) or _is_text(kind)):
                raise StartError(
                    f"{without_password(name)}: the column {self.column!r} has the type {kind}; it must have the "
                    "bytes of photos, or their paths or URLs as text"
                )
            return self.column, kind
        fitting = [field for field in schema if _holds_bytes(field.type)]
        fitting = fitting or [field for field in schema if _is_text(field.type) and field.name != self.names]
        if len(fitting) != 1:
            raise StartError(
                f"{without_password(name)}: say with --column which column has the bytes or the paths of the "
                "photos; it has " + ", ".join(f"{field.name} ({field.type})" for field in schema)
            )
        return fitting[0].name, fitting[0].type

    def _names(self, name: str, table: Any, column: str) -> Iterator[Name]:
        number = 0
        for batch in table.iter_batches(MANY, columns=[column]):
            for path in batch.column(0).to_pylist():
                yield path or (f"{name}#{number}", NO_PATH)
                number += 1

    def _groups(self, name: str, table: Any, column: str) -> Iterator[Piece]:
        first = 0
        for group in range(table.num_row_groups):
            rows = table.metadata.row_group(group).num_rows
            yield Rows(name, group, first, column, self.names, rows)
            first += rows


def _is_parquet(name: str) -> bool:
    return name.lower().endswith(PARQUET)


def _holds_bytes(kind: Any) -> bool:
    from pyarrow import types

    if types.is_struct(kind):
        return any(field.name == IMAGES and _holds_bytes(field.type) for field in kind)
    kind = _of_values(kind)
    return bool(types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind))


def _is_text(kind: Any) -> bool:
    from pyarrow import types

    kind = _of_values(kind)
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


def _of_values(kind: Any) -> Any:
    """Return the type of the values, which are kept once each where the type is a dictionary."""
    from pyarrow import types

    return kind.value_type if types.is_dictionary(kind) else kind
