"""Files are found below folders and by patterns, here and in object storage."""

import os
from pathlib import Path

import pytest

from app.batch.storage import finding, reading, writing
from app.errors import StartError
from tests.batch.far import URL, AwayError, Far
from tests.support import needs
from tests.support.patterns import PATTERNS, TREE

FILES = ("b.jpg", "sub/c.jpeg", "sub/deep/d.webp", "[odd].gif")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    return tmp_path


def found(folder: Path, argument: str) -> list[str]:
    return sorted(os.path.relpath(name, folder) for name in finding.find(os.path.join(folder, argument)))


def test_a_folder_is_all_files_below_it_and_in_linked_folders(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "e.jpg").write_bytes(b"e")
    (folder / "sub" / "linked").symlink_to(elsewhere)
    assert found(folder, "") == sorted((*FILES, "sub/linked/e.jpg"))


def test_a_file_is_itself_even_if_it_is_missing_or_looks_like_a_pattern(folder: Path) -> None:
    assert found(folder, "[odd].gif") == ["[odd].gif"]
    assert found(folder, "missing.jpg") == ["missing.jpg"]


def test_a_pattern_is_searched(folder: Path) -> None:
    assert found(folder, "**/*.jp*g") == ["b.jpg", "sub/c.jpeg"]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_pattern_means_in_object_storage_what_it_means_here(far: Far, pattern: str) -> None:
    for name in TREE:
        far.put(f"photos/{name}", b"photo")
    wanted = sorted(f"{URL}/photos/{name}" for name in PATTERNS[pattern].split())
    assert sorted(finding.find(f"{URL}/{pattern}")) == wanted


def test_only_the_folders_that_a_pattern_can_reach_are_searched(far: Far, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("photos/1.jpg", "photos/sub/2.jpg"):
        far.put(name, b"photo")
    asked: list[str] = []
    search = far.system.find

    def find(path: str, **how: object) -> object:
        asked.append(path.strip("/"))
        return search(path, **how)

    monkeypatch.setattr(far.system, "find", find)
    assert list(finding.find(f"{URL}/photos/*.jpg")) == [f"{URL}/photos/1.jpg"]
    assert asked == ["bucket/photos"]


def test_the_name_of_a_bucket_is_no_pattern(far: Far) -> None:
    far.put("photos/1.jpg", b"photo")
    assert list(finding.find("memory://b*/photos/1.jpg")) == ["memory://b*/photos/1.jpg"]
    with pytest.raises(StartError, match=r"cannot look for photos in memory://b\*/photos/\*.jpg: .*b\*/photos"):
        list(finding.find("memory://b*/photos/*.jpg"))


def test_a_url_of_this_machine_is_a_path(folder: Path) -> None:
    assert reading.read(f"file://{folder}/b.jpg") == b"b.jpg"
    assert list(finding.find(f"file://{folder}/sub/deep")) == [f"{folder}/sub/deep/d.webp"]


def test_an_unknown_kind_of_storage_is_said() -> None:
    with pytest.raises(StartError, match="nonsense://bucket"):
        list(finding.find("nonsense://bucket/photos"))


def test_a_folder_that_cannot_be_searched_is_not_passed_over(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def scandir(path: str) -> object:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(StartError, match=r"cannot look for photos in .*: Permission denied"):
        list(finding.find(str(folder)))


def test_what_is_in_a_folder_is_seen_and_a_missing_one_is_empty(folder: Path, far: Far) -> None:
    far.put("out/part-0.jsonl", b"{}")
    for name in (str(folder / "sub"), f"{URL}/out"):
        assert list(finding.inside(name))
    for name in (str(folder / "missing"), f"{URL}/none"):
        assert not list(finding.inside(name))


def test_a_machine_that_cannot_be_asked_what_it_has_is_said(far: Far, monkeypatch: pytest.MonkeyPatch) -> None:
    def info(path: str) -> object:
        raise AwayError(f"no answer about {path}")

    monkeypatch.setattr(far.system, "info", info)
    with pytest.raises(StartError, match=rf"cannot look for photos in {URL}/photos: no answer"):
        list(finding.find(f"{URL}/photos"))


@needs.RAY.mark()  # which brings fsspec
def test_file_systems_of_others_are_read_and_written_by_fsspec() -> None:
    import fsspec

    for name in ("photos/1.jpg", "photos/sub/2 b.jpg", "photos/notes.txt"):
        fsspec.filesystem("memory").pipe(f"/bucket/{name}", name.encode())
    assert sorted(finding.find("memory://bucket/photos")) == [
        "memory://bucket/photos/1.jpg",
        "memory://bucket/photos/notes.txt",
        "memory://bucket/photos/sub/2 b.jpg",
    ]
    assert list(finding.find("memory://bucket/*/[0-9].jpg")) == ["memory://bucket/photos/1.jpg"]
    assert reading.read("memory://bucket/photos/sub/2 b.jpg") == b"photos/sub/2 b.jpg"
    writing.write("memory://bucket/out/part-0.jsonl", b"{}")
    assert reading.exists("memory://bucket/out/part-0.jsonl")
