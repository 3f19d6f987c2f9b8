"""Every kind of source becomes pieces of work, whose photos are read one by one; damage is an error of its own row."""

import gzip
import io
import os
import tarfile
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from app.batch import fetching, piece
from app.batch.fetching import Photo
from app.batch.piece import Files, Piece, Rows, Tar
from app.batch.source import Source
from app.batch.storage.reading import PART_BYTES
from app.errors import StartError, Unreachable, Unreadable
from tests.batch.far import URL, Far
from tests.support.data import REPOSITORY

BLOCK = tarfile.BLOCKSIZE


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def pieces(*arguments: str, size: int = 2, column: str | None = None, names: str | None = None) -> list[Piece]:
    return list(Source(arguments, size, column, names).pieces())


def photos(*arguments: str, column: str | None = None, names: str | None = None) -> list[Photo]:
    found = pieces(*arguments, column=column, names=names)
    return [photo for one in found for photo in piece.unpack(piece.pack(one)).photos(nothing)]


def nothing() -> list[str]:
    """Return the other files of a job that is read for itself."""
    return []


def archive(path: Path, **members: bytes) -> None:
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name.replace("_", "."))
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def table(to: Path, /, **columns: Any) -> None:
    parquet.write_table(pyarrow.table(columns), to, row_group_size=2)


def test_files_come_in_pieces_of_one_size_across_the_arguments(here: Path) -> None:
    for name in ("a/1.jpg", "a/2.png", "b/3.jpg", "a/notes.txt", "a/._1.jpg", "plain"):
        (here / name).parent.mkdir(exist_ok=True)
        (here / name).write_bytes(name.encode())
    found = pieces("a", "b", "plain", "missing.jpg", size=3)
    assert [one.count for one in found] == [3, 2]
    names = [name for one in found if isinstance(one, Files) for name in one.names]
    assert sorted(names) == ["a/1.jpg", "a/2.png", "b/3.jpg", "missing.jpg", "plain"]
    contents = dict(photos("a", "b", "plain", "missing.jpg"))
    assert contents["a/1.jpg"] == b"a/1.jpg"
    assert str(contents["missing.jpg"]) == "No such file or directory"


def test_a_name_that_is_no_text_is_read_all_the_same(here: Path) -> None:
    (here / "caf\udce9.jpg").write_bytes(b"old")
    assert photos(".") == [("./caf\udce9.jpg", b"old")]


def test_a_folder_that_a_pattern_matches_stands_for_its_photos_once(here: Path) -> None:
    for name in ("a/1.jpg", "a/sub/2.png", "a/notes.txt", "3.jpg", "plain"):
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).write_bytes(name.encode())
    for pattern in ("*", "**", "**/*"):
        assert sorted(name for name, _ in photos(pattern)) == ["3.jpg", "a/1.jpg", "a/sub/2.png"]


@pytest.mark.parametrize("argument", ["empty", "*.tiff"])
def test_a_source_without_photos_is_a_mistake(here: Path, argument: str) -> None:
    (here / "empty").mkdir()
    (here / "empty" / "notes.txt").write_text("none")
    with pytest.raises(StartError, match=rf"there are no photos in .*{argument.strip('*')}.*\.webp.*\.parquet"):
        pieces(argument)


@pytest.mark.parametrize("name", ["shard.tar", "shard.tar.gz"])
def test_an_archive_is_a_piece_and_its_photos_have_its_name(here: Path, name: str) -> None:
    archive(here / name, a_jpg=b"one", a_cls=b"3", b_png=b"two")
    assert [one.count for one in pieces(".")] == [None]
    assert photos(name) == [(f"{name}/a.jpg", b"one"), (f"{name}/b.png", b"two")]


def test_a_damaged_archive_gives_what_it_has_and_one_error_under_its_own_name(here: Path) -> None:
    archive(here / "shard.tar", a_jpg=b"1" * 2000, b_jpg=b"2" * 2000)
    whole = (here / "shard.tar").read_bytes()
    (here / "shard.tar").write_bytes(whole[:4000])
    first, (name, error) = photos("shard.tar")
    assert first == ("shard.tar/a.jpg", b"1" * 2000)
    assert name == "shard.tar"
    assert isinstance(error, Unreadable)


def kept(path: Path, content: bytes) -> None:
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


@pytest.mark.parametrize("name", ["shard.tar", "shard.tar.gz"])
@pytest.mark.parametrize("damage", ["other bytes", "zeros", "cut", "cut in the middle"])
@pytest.mark.parametrize("block", range(6))  # a header, two of content, two headers, one of content
def test_no_damage_of_an_archive_loses_a_photo_without_an_error(here: Path, name: str, damage: str, block: int) -> None:
    archive(here / "whole.tar", a_jpg=b"1" * 600, b_txt=b"", c_jpg=b"3" * 500)
    whole = (here / "whole.tar").read_bytes()
    before, after = whole[: block * BLOCK], whole[(block + 1) * BLOCK :]
    damaged = {
        "other bytes": before + bytes([255]) * BLOCK + after,
        "zeros": before + bytes(BLOCK) + after,
        "cut": before,
        "cut in the middle": whole[: block * BLOCK + 100],
    }
    kept(here / name, damaged[damage])
    found = dict(photos(name))
    error = found.pop(name, None)
    assert found.keys() == {f"{name}/a.jpg", f"{name}/c.jpg"} or isinstance(error, Unreadable)


@pytest.mark.parametrize("name", ["shard.tar", "shard.tar.gz"])
@pytest.mark.parametrize(
    ("end", "said"), [("cut", "damaged or cut off: empty header"), ("joined", "more behind the end of the archive")]
)
def test_an_archive_has_an_end_and_nothing_behind_it(here: Path, name: str, end: str, said: str) -> None:
    archive(here / "whole.tar", a_jpg=b"1" * BLOCK)
    whole = (here / "whole.tar").read_bytes()
    kept(here / name, whole[: 2 * BLOCK] if end == "cut" else whole)
    if end == "joined":
        (here / name).write_bytes(2 * (here / name).read_bytes())
    first, (own_name, error) = photos(name)
    assert first == (f"{name}/a.jpg", b"1" * BLOCK)
    assert own_name == name
    assert said in str(error)


def test_an_archive_whose_checksum_is_another_is_damaged(here: Path) -> None:
    archive(here / "shard.tar.gz", a_jpg=b"one", b_txt=bytes(tarfile.RECORDSIZE))
    whole = (here / "shard.tar.gz").read_bytes()
    (here / "shard.tar.gz").write_bytes(whole[:-8] + bytes(4) + whole[-4:])
    first, (name, error) = photos("shard.tar.gz")
    assert first == ("shard.tar.gz/a.jpg", b"one")
    assert name == "shard.tar.gz"
    assert "CRC check failed" in str(error)


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_archives_of_every_form_are_whole(here: Path, form: int) -> None:
    name = f"{'folder/' * 20}ä.jpg"
    with tarfile.open(here / "shard.tar", "w", format=form) as tar:
        for each in (name, "b.jpg"):
            tar.addfile(tarfile.TarInfo(each))
    assert photos("shard.tar") == [(f"shard.tar/{name}", b""), ("shard.tar/b.jpg", b"")]


@pytest.mark.parametrize("kind", [tarfile.LNKTYPE, tarfile.SYMTYPE])
def test_a_link_in_an_archive_is_an_error_and_not_passed_over(here: Path, kind: bytes) -> None:
    with tarfile.open(here / "shard.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo("a.jpg"))
        for name in ("b.jpg", "b.txt", "._b.jpg"):
            link = tarfile.TarInfo(name)
            link.type, link.linkname = kind, "a.jpg"
            tar.addfile(link)
        tar.addfile(tarfile.TarInfo("c.jpg"))
    first, (name, error), last = photos("shard.tar")
    assert (first, name, last) == (("shard.tar/a.jpg", b""), "shard.tar/b.jpg", ("shard.tar/c.jpg", b""))
    assert str(error) == "this is a link to a.jpg; the archive must hold the file itself"


def test_an_archive_with_a_file_that_has_no_end_is_damaged(here: Path) -> None:
    info = tarfile.TarInfo("a.jpg")
    info.size = 2**60
    (here / "shard.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(BLOCK))
    ((name, error),) = photos("shard.tar")
    assert (name, str(error)) == ("shard.tar", f"the archive is damaged: a file in it has {2**60:,} bytes")


def test_a_photo_of_too_many_bytes_is_an_error_that_names_them(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "LARGEST_BYTES", 3)
    (here / "a.jpg").write_bytes(b"much")
    archive(here / "shard.tar", a_jpg=b"much", b_jpg=b"few")
    table(here / "photos.parquet", image=[b"much", b"few"])
    found = dict(photos("a.jpg", "shard.tar", "photos.parquet"))
    large = [found.pop(name) for name in ("a.jpg", "shard.tar/a.jpg", "photos.parquet#0")]
    assert [str(error) for error in large] == ["this has 4 bytes; the limit is 3"] * 3
    assert found == {"shard.tar/b.jpg": b"few", "photos.parquet#1": b"few"}


def test_the_most_bytes_of_a_photo_are_those_of_the_document() -> None:
    assert f"more than {fetching.LARGEST_BYTES // 10**6} MB" in (REPOSITORY / "docs" / "bulk.md").read_text()


def test_an_archive_whose_machine_stops_to_answer_is_not_damaged(here: Path, far: Far) -> None:
    archive(here / "shard.tar", a_jpg=b"one", b_jpg=bytes(PART_BYTES))
    found = Tar(far.put("shard.tar", (here / "shard.tar").read_bytes())).photos(nothing)
    far.answers_bytes = PART_BYTES
    assert next(found) == (f"{URL}/shard.tar/a.jpg", b"one")
    with pytest.raises(Unreachable, match="the line is dead"):
        next(found)


def test_a_table_whose_machine_stops_to_answer_is_not_damaged(here: Path, far: Far) -> None:
    table(here / "photos.parquet", image=[b"one", b"two"])
    (only,) = pieces(far.put("photos.parquet", (here / "photos.parquet").read_bytes()))
    assert [content for _, content in only.photos(nothing)] == [b"one", b"two"]
    far.answers_bytes = 0
    with pytest.raises(Unreachable, match="the line is dead"):
        list(only.photos(nothing))


def test_an_archive_or_a_table_that_must_not_be_read_is_an_error_and_not_waited_for(here: Path, far: Far) -> None:
    table(here / "photos.parquet", image=[b"one"])
    (rows,) = pieces(far.put("photos.parquet", (here / "photos.parquet").read_bytes()))
    far.answers_bytes, far.error = 0, PermissionError(13, "Permission denied")
    for one in (Tar(far.put("shard.tar", bytes(BLOCK))), rows):
        ((name, error),) = one.photos(nothing)
        assert (name, str(error)) == (one.files[0], "Permission denied")
    assert not far.pauses_s


def test_a_table_whose_machine_does_not_answer_is_said_before_anything_is_classified(far: Far) -> None:
    name = far.put("photos.parquet", bytes(100))
    far.answers_bytes = 0
    with pytest.raises(StartError, match=rf"^{name}: the line is dead$"):
        pieces(name)


def test_a_table_is_read_in_parts_however_large_its_row_groups_are(here: Path, far: Far) -> None:
    contents = [os.urandom(4096) for _ in range(8 * PART_BYTES // 4096)]
    parquet.write_table(pyarrow.table({"image": contents}), here / "photos.parquet")
    (only,) = pieces(far.put("photos.parquet", (here / "photos.parquet").read_bytes()))
    far.asked = 0
    found = only.photos(nothing)
    assert next(found)[1] == contents[0]
    early = far.asked
    assert [content for _, content in found] == contents[1:]
    assert early < far.asked


def test_a_missing_archive_is_one_error(here: Path) -> None:
    ((name, error),) = Tar("gone.tar").photos(nothing)
    assert (name, isinstance(error, Unreadable)) == ("gone.tar", True)


def test_photos_in_a_column_of_bytes_are_named_by_their_row(here: Path) -> None:
    table(here / "photos.parquet", image=[b"one", b"two", None], label=[1, 2, 3])
    assert [one.count for one in pieces("photos.parquet")] == [2, 1]
    (first, second, (name, error)) = photos("photos.parquet")
    assert (first, second, name) == (("photos.parquet#0", b"one"), ("photos.parquet#1", b"two"), "photos.parquet#2")
    assert str(error) == "there are no bytes in this row"


def test_photos_in_a_column_of_bytes_are_named_by_another_column(here: Path) -> None:
    table(here / "photos.parquet", image=[b"one", b"two"], name=["a", "b"])
    assert photos("photos.parquet", names="name") == [("a", b"one"), ("b", b"two")]


def test_photos_are_found_in_the_structs_of_hugging_face(here: Path) -> None:
    table(here / "photos.parquet", image=[{"bytes": b"one", "path": "1.jpg"}, {"bytes": b"two", "path": None}])
    assert photos("photos.parquet") == [("1.jpg", b"one"), ("photos.parquet#1", b"two")]


def test_a_column_of_paths_is_a_list_of_photos(here: Path) -> None:
    (here / "1.jpg").write_bytes(b"one")
    table(here / "list.parquet", path=["1.jpg", "2.jpg"], label=[1, 2])
    assert pieces("list.parquet") == [Files(["1.jpg", "2.jpg"])]
    assert photos("list.parquet")[0] == ("1.jpg", b"one")


def test_a_row_without_a_path_is_an_error_of_its_own(here: Path) -> None:
    (here / "1.jpg").write_bytes(b"one")
    table(here / "list.parquet", path=[None, "1.jpg", ""])
    assert [one.count for one in pieces("list.parquet")] == [2, 1]
    found = dict(photos("list.parquet"))
    assert found.pop("1.jpg") == b"one"
    assert {name: str(error) for name, error in found.items()} == {
        f"list.parquet#{number}": "there is no path in this row" for number in (0, 2)
    }


@pytest.mark.parametrize("values", [["1.jpg", "1.jpg"], [b"one", b"one"]])
def test_columns_whose_values_are_kept_once_each_are_read_like_others(here: Path, values: list[Any]) -> None:
    (here / "1.jpg").write_bytes(b"one")
    table(here / "photos.parquet", one=pyarrow.array(values).dictionary_encode(), label=[1, 2])
    for column in ("one", None):
        assert [content for _, content in photos("photos.parquet", column=column)] == [b"one", b"one"]


def test_a_named_column_that_has_no_photos_is_said_with_what_it_is(here: Path) -> None:
    table(here / "photos.parquet", image=[b"one"], label=[1])
    with pytest.raises(StartError, match=r"the column 'label' has the type int64; it must have the bytes of photos"):
        pieces("photos.parquet", column="label")


def test_which_column_is_meant_has_to_be_said_where_several_could_be(here: Path) -> None:
    table(here / "two.parquet", small=[b"s"], large=[b"l"], name=["n"])
    with pytest.raises(StartError, match=r"say with --column .* small \(binary\), large \(binary\), name \(string\)"):
        pieces("two.parquet")
    with pytest.raises(StartError, match="has no column 'medium'; it has small, large, name"):
        pieces("two.parquet", column="medium")
    assert photos("two.parquet", column="large") == [("two.parquet#0", b"l")]


def test_what_may_come_from_another_machine_is_known_before() -> None:
    sources = {
        "photos": False,
        "a.tar": False,
        "s3://bucket/photos": True,
        "urls.parquet": True,
        "file:///photos": False,
    }
    assert {name: Source((name,), 1).far for name in sources} == sources


def test_a_table_that_is_none_is_said_before_anything_is_classified(here: Path) -> None:
    (here / "bad.parquet").write_bytes(b"no table")
    with pytest.raises(StartError, match=r"bad.parquet cannot be read"):
        pieces(".")


def test_a_table_that_is_damaged_later_is_one_error(here: Path) -> None:
    table(here / "photos.parquet", image=[b"one"])
    (only,) = pieces("photos.parquet")
    assert isinstance(only, Rows)
    (here / "photos.parquet").write_bytes(b"PAR1 no table PAR1")
    ((name, error),) = only.photos(nothing)
    assert (name, isinstance(error, Unreadable)) == ("photos.parquet", True)
