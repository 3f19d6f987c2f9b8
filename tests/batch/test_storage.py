"""Files are found below folders and by patterns, here and in object storage; none is ever there in part."""

import os
from pathlib import Path

import pytest

from app.batch import storage
from app.errors import StartError, Unreadable
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
