"""Files are found below folders and by patterns, here and in object storage."""

import os
import time
from glob import iglob
from pathlib import Path

import pytest

from app.batch.storage import finding, reading, writing
from app.errors import StartError
from tests.batch.far import URL, AwayError, Far
from tests.support import needs

FILES = ("b.jpg", "sub/c.jpeg", "sub/deep/d.webp", "[odd].gif")
TREE = (
    *("1.jpg", "a/2.jpg", "a/.3.jpg", "a/b/4.jpg", "a/b/b/5.jpg", "a/ab.jpg/6.jpg"),
    *(".trash/7.jpg", "a/notes.txt", "c/.d/8"),
)
PATTERNS = {
    "photos/*.jpg": "1.jpg",
    "photos/**/*.jpg": "1.jpg a/2.jpg a/b/4.jpg a/b/b/5.jpg a/ab.jpg/6.jpg",
    "photos/**": "1.jpg a/2.jpg a/.3.jpg a/b/4.jpg a/b/b/5.jpg a/ab.jpg/6.jpg a/notes.txt c/.d/8",
    "photos/**/": " ".join(TREE),
    "photos/*/": "a/2.jpg a/.3.jpg a/b/4.jpg a/b/b/5.jpg a/ab.jpg/6.jpg a/notes.txt c/.d/8",
    "photos/*": "1.jpg a/2.jpg a/.3.jpg a/b/4.jpg a/b/b/5.jpg a/ab.jpg/6.jpg a/notes.txt c/.d/8",
    "photos/*/*.jpg": "a/2.jpg a/ab.jpg/6.jpg",
    "photos/*/b/*.jpg": "a/b/4.jpg",
    "photos/**/b/**/*.jpg": "a/b/4.jpg a/b/b/5.jpg",
    "photos/**/**/b": "a/b/4.jpg a/b/b/5.jpg",
    "photos/*//b": "a/b/4.jpg a/b/b/5.jpg",
    "photos/?/[!0-1].jpg": "a/2.jpg",
    "photos/a/.*": "a/.3.jpg",
    "phot?s/.*/7.jpg": ".trash/7.jpg",
    "phot?s/a/**.txt": "a/notes.txt",
    "*/1.jpg": "1.jpg",
    "photos/*/b/./4.jpg": "a/b/4.jpg",
}
"""Patterns, and what they stand for in the folder `photos` with the files of `TREE`."""


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
def test_a_pattern_means_the_same_here_and_in_object_storage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, far: Far, pattern: str
) -> None:
    monkeypatch.chdir(tmp_path)
    names = [f"photos/{name}" for name in TREE]
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(b"photo")
        far.put(name, b"photo")
    wanted = sorted(f"photos/{name}" for name in PATTERNS[pattern].split())
    spelled = f"{pattern}/*" if pattern.endswith("/**") else pattern  # what `**` at the end stands for, not the start
    assert wanted == sorted(
        {os.path.normpath(name) for match in iglob(spelled, recursive=True) for name in below(match)}
    )
    assert sorted(finding.find(pattern)) == wanted
    assert sorted(finding.find(f"{tmp_path}/{pattern}")) == [f"{tmp_path}/{name}" for name in wanted]
    assert sorted(finding.find(f"{URL}/{pattern}")) == [f"{URL}/{name}" for name in wanted]


def below(path: str) -> list[str]:
    """Return the files that a file or a folder stands for."""
    return [path] if os.path.isfile(path) else [str(one) for one in Path(path).rglob("*") if one.is_file()]


def test_a_pattern_takes_no_photo_twice_where_links_lead_in_a_circle(folder: Path) -> None:
    (folder / "sub" / "circle").symlink_to(folder)
    assert found(folder, "**/*.jp*g") == ["b.jpg", "sub/c.jpeg"]
    assert found(folder, "*") == found(folder, "**") == sorted(FILES)


def test_a_name_behind_a_wildcard_is_found_in_a_folder_that_may_not_be_listed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.scandir

    def scandir(path: str) -> object:
        if os.path.basename(path) == "sub":
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert found(folder, "s*/deep/*") == ["sub/deep/d.webp"]
    with pytest.raises(StartError, match=r"photos in .*/sub: Permission denied"):
        found(folder, "s*/d*/*")


def test_a_photo_behind_a_link_that_leads_nowhere_is_not_passed_over_by_a_pattern(folder: Path) -> None:
    (folder / "broken.jpg").symlink_to("nowhere")
    assert found(folder, "*.jpg") == ["b.jpg", "broken.jpg"]


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


@pytest.mark.parametrize("pattern", ["*a" * 30 + "b", "**/" * 30 + "b"])
def test_no_pattern_takes_long(folder: Path, far: Far, pattern: str) -> None:
    name = "a" * 100 + "/" + "a/" * 40 + "a" * 200
    (folder / name).parent.mkdir(parents=True)
    (folder / name).write_bytes(b"photo")
    begin = time.process_time()
    assert not found(folder, pattern)
    far.put(f"photos/{name}", b"photo")
    assert not list(finding.find(f"{URL}/photos/{pattern}"))
    assert time.process_time() - begin < 1


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
