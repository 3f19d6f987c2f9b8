"""A piece counts as done if the file of its rows has one for each of its photos."""

from pathlib import Path
from typing import Any

import pytest

from app.batch.piece import Files, Piece, Rows, Tar
from app.batch.row import Row
from app.batch.sink import Form, Sink
from app.errors import Unreadable
from tests.batch.test_work import ABOUT

NAMES = ["1.jpg", "2.jpg", "3.jpg"]
FILES = Files(list(NAMES))
TABLE = Rows("photos.parquet", 0, 0, "image", None, 3)
ARCHIVE = Tar("shard.tar")
FORMS: Any = ["parquet", "jsonl"]


def rows(*names: str) -> list[Row]:
    return [ABOUT.row(name, Unreadable("none"), None) for name in names]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("piece", "names", "done"),
    [
        pytest.param(FILES, NAMES, True, id="files"),
        pytest.param(FILES, NAMES[:2], False, id="too few files"),
        pytest.param(TABLE, NAMES, True, id="table"),
        pytest.param(TABLE, NAMES[:2], False, id="too few rows"),
        pytest.param(TABLE, ["1.jpg", "photos.parquet"], True, id="damaged table"),
        pytest.param(ARCHIVE, ["1.jpg"], True, id="archive"),
        pytest.param(ARCHIVE, ["shard.tar"], True, id="damaged archive"),
        *(pytest.param(piece, [], False, id=f"nothing of {piece.files[0]}") for piece in (FILES, TABLE, ARCHIVE)),
    ],
)
def test_a_piece_is_done_if_its_photos_have_rows_or_it_ends_with_its_own_error(
    tmp_path: Path, form: Form, piece: Piece, names: list[str], done: bool
) -> None:
    sink = Sink(str(tmp_path), form)
    sink.write(0, rows(*names), ABOUT)
    tally = sink.written(0, piece)
    assert (None if tally is None else (tally.photos, tally.already)) == ((len(names),) * 2 if done else None)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("cut", [0, 100])
def test_a_piece_whose_file_is_empty_or_cut_is_not_done(tmp_path: Path, form: Form, cut: int) -> None:
    sink = Sink(str(tmp_path), form)
    for piece in (FILES, TABLE, ARCHIVE):
        sink.write(0, rows(*NAMES), ABOUT)
        file = Path(sink.file(0))
        file.write_bytes(file.read_bytes()[:cut])
        assert sink.written(0, piece) is None


def test_a_piece_without_a_file_is_not_done(tmp_path: Path) -> None:
    assert Sink(str(tmp_path), "jsonl").written(0, FILES) is None
