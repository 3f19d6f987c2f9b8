"""Files are found below folders and by patterns, here and in object storage; none is ever there in part."""

import os
from pathlib import Path

import pytest

from app.batch import storage
from app.errors import StartError, Unreachable, Unreadable
from tests.batch.far import URL, AwayError, Far
from tests.support import needs

FILES = ("b.jpg", "sub/c.jpeg", "sub/deep/d.webp", "[odd].gif")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    return tmp_path


def found(folder: Path, argument: str) -> list[str]:
    return sorted(os.path.relpath(name, folder) for name in storage.find(os.path.join(folder, argument)))


def test_a_folder_is_all_files_below_it_and_links_lead_in_no_circle(folder: Path) -> None:
    (folder / "sub" / "circle").symlink_to(folder)
    assert found(folder, "") == sorted(FILES)


def test_a_file_is_itself_even_if_it_is_missing_or_looks_like_a_pattern(folder: Path) -> None:
    assert found(folder, "[odd].gif") == ["[odd].gif"]
    assert found(folder, "missing.jpg") == ["missing.jpg"]


def test_a_pattern_is_searched(folder: Path) -> None:
    assert found(folder, "**/*.jp*g") == ["b.jpg", "sub/c.jpeg"]


def test_a_url_of_this_machine_is_a_path(folder: Path) -> None:
    assert storage.read(f"file://{folder}/b.jpg") == b"b.jpg"
    assert list(storage.find(f"file://{folder}/sub/deep")) == [f"{folder}/sub/deep/d.webp"]


@pytest.mark.parametrize("name", ["missing.jpg", "sub", "a\0b.jpg"])
def test_what_cannot_be_read_is_an_error_of_its_photo(folder: Path, name: str) -> None:
    with pytest.raises(Unreadable):
        storage.read(str(folder / name))


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(Unreadable, match="this is not a file"):
        storage.read(str(tmp_path / "pipe.jpg"))


def test_a_photo_of_a_kind_of_storage_that_is_unknown_is_an_error_of_its_own() -> None:
    with pytest.raises(Unreadable, match="nonsense://bucket"):
        storage.read("nonsense://bucket/1.jpg")


def test_whatever_error_another_machine_has_is_one_of_the_photo(far: Far) -> None:
    name = far.put("1.jpg", b"one")
    far.answers_bytes = 0
    with pytest.raises(Unreadable, match=r"^the line is dead$"):
        storage.read(name)


def test_a_file_of_too_many_bytes_is_not_read(folder: Path, far: Far) -> None:
    size = len("sub/c.jpeg")
    assert storage.read(str(folder / "sub" / "c.jpeg"), size) == b"sub/c.jpeg"
    with pytest.raises(Unreadable, match=rf"^this has {size} bytes; the limit is {size - 1}$"):
        storage.read(str(folder / "sub" / "c.jpeg"), size - 1)
    content = os.urandom(3 * storage.FETCHED_BYTES)
    name = far.put("1.jpg", content)
    assert storage.read(name, len(content)) == content
    far.asked = 0
    with pytest.raises(Unreadable, match=rf"^this has {len(content):,} bytes; the limit is {len(content) - 1:,}$"):
        storage.read(name, len(content) - 1)
    assert far.asked == 1, "its size is asked for before the rest of it"


def test_a_file_whose_size_its_machine_does_not_say_is_read_up_to_the_limit(
    far: Far, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(far.system, "info", lambda path: {"name": path, "size": None, "type": "file"})
    name = far.put("1.jpg", bytes(3 * storage.FETCHED_BYTES))
    assert len(storage.read(name)) == 3 * storage.FETCHED_BYTES
    far.asked = 0
    with pytest.raises(Unreadable, match="the limit is 1,000"):
        storage.read(name, 1000)
    assert far.asked == 2


def test_what_is_read_in_parts_says_whether_its_machine_answers_or_the_file_is_missing(far: Far) -> None:
    name = far.put("a.tar", bytes(3 * storage.PART_BYTES))
    far.answers_bytes = 2 * storage.PART_BYTES
    with storage.opened(name) as file:
        far.asked = 0
        while file.tell() < far.answers_bytes:
            assert file.read(2**15)
        assert far.asked == 2, "few requests are made for many small parts"
        with pytest.raises(Unreachable, match=rf"^{name}: the line is dead$"):
            file.read(2**15)
    for missing in (f"{URL}/b.tar", "b.tar"):
        with pytest.raises(FileNotFoundError), storage.opened(missing):
            pass


def test_a_name_is_the_same_from_any_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    names = {"out/": f"{folder}/out", f"file://{folder}/out": f"{folder}/out", f"{URL}/out/": f"{URL}/out"}
    assert {name: storage.absolute(name) for name in names} == names


def test_an_unknown_kind_of_storage_is_said() -> None:
    with pytest.raises(StartError, match="nonsense://bucket"):
        list(storage.find("nonsense://bucket/photos"))


def test_a_folder_that_cannot_be_searched_is_not_passed_over(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def scandir(path: str) -> object:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(StartError, match=r"cannot look for photos in .*: Permission denied"):
        list(storage.find(str(folder)))


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = tmp_path / "rows"
    storage.write(str(name), b"all of it")
    assert name.read_bytes() == b"all of it"

    def torn(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", torn)
    with pytest.raises(OSError, match="No space left"):
        storage.write(str(name), b"half")
    assert [path.name for path in tmp_path.iterdir()] == ["rows"], "nothing half-written is left"
    assert name.read_bytes() == b"all of it"


def test_whether_a_folder_is_empty_is_seen(folder: Path) -> None:
    (folder / "empty").mkdir()
    assert [storage.is_empty(str(folder / name)) for name in ("empty", "missing", "sub")] == [True, True, False]


def test_a_machine_that_cannot_be_asked_what_it_has_is_said(far: Far, monkeypatch: pytest.MonkeyPatch) -> None:
    def info(path: str) -> object:
        raise AwayError(f"no answer about {path}")

    monkeypatch.setattr(far.system, "info", info)
    with pytest.raises(StartError, match=rf"cannot look for photos in {URL}/photos: no answer"):
        list(storage.find(f"{URL}/photos"))


@needs.RAY.mark()  # which brings fsspec
def test_file_systems_of_others_are_read_and_written_by_fsspec() -> None:
    import fsspec

    for name in ("photos/1.jpg", "photos/sub/2 b.jpg", "photos/notes.txt"):
        fsspec.filesystem("memory").pipe(f"/bucket/{name}", name.encode())
    assert sorted(storage.find("memory://bucket/photos")) == [
        "memory://bucket/photos/1.jpg",
        "memory://bucket/photos/notes.txt",
        "memory://bucket/photos/sub/2 b.jpg",
    ]
    assert list(storage.find("memory://bucket/*/[0-9].jpg")) == ["memory://bucket/photos/1.jpg"]
    assert storage.read("memory://bucket/photos/sub/2 b.jpg") == b"photos/sub/2 b.jpg"
    storage.write("memory://bucket/out/part-0.jsonl", b"{}")
    assert storage.exists("memory://bucket/out/part-0.jsonl")
    assert [storage.is_empty(f"memory://bucket/{name}") for name in ("out", "none")] == [False, True]
