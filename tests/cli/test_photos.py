"""What a command line names is found: files, folders, patterns; and what is not there is said."""

import io
import os
from pathlib import Path

import pytest
from PIL import Image

from app.cli.photos import PhotoFile, find
from app.errors import StartError, Unreadable
from app.imaging.formats import FORMATS, SUFFIXES

FILES = ("b.jpg", "a.PNG", "notes.txt", "sub/c.jpeg", "sub/deep/d.webp", "[odd].gif", "plain")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    return tmp_path


def names(folder: Path, *arguments: str) -> list[str]:
    return [os.path.relpath(photo.name, folder) for photo in find(os.path.join(folder, one) for one in arguments)]


def test_a_folder_is_all_photos_below_it_by_what_they_are_called(folder: Path) -> None:
    assert names(folder, "") == ["[odd].gif", "a.PNG", "b.jpg", "sub/c.jpeg", "sub/deep/d.webp"]


def test_a_linked_folder_is_one_of_its_folder_and_no_circle(folder: Path) -> None:
    (folder / "sub" / "circle").symlink_to(folder)
    (folder / "linked").symlink_to(folder / "sub" / "deep")
    assert names(folder, "")[3:] == ["linked/d.webp", "sub/c.jpeg", "sub/deep/d.webp"]


def test_files_are_taken_as_they_are_named_and_in_that_order(folder: Path) -> None:
    named = ["plain", "notes.txt", "b.jpg", "b.jpg", "missing.jpg", "[odd].gif"]
    assert names(folder, *named) == named


def test_patterns_that_the_shell_left_are_searched(folder: Path) -> None:
    assert names(folder, "*.jpg", "**/*.jp*g") == ["b.jpg", "b.jpg", "sub/c.jpeg"]
    assert names(folder, "[!s]*") == ["[odd].gif", "a.PNG", "b.jpg", "notes.txt", "plain"]


@pytest.mark.parametrize("pattern", ["*", "**"])
def test_a_folder_that_a_pattern_finds_is_all_photos_below_it_each_once(pattern: str, folder: Path) -> None:
    (folder / "sub" / "notes.md").touch()
    (folder / "empty").mkdir()
    assert names(folder, "s*b") == names(folder, "sub") == ["sub/c.jpeg", "sub/deep/d.webp"]
    (folder / "sub" / "circle").symlink_to(folder)
    files = ["[odd].gif", "a.PNG", "b.jpg", "notes.txt", "plain", "sub/c.jpeg", "sub/deep/d.webp"]
    assert names(folder, pattern) == files


@pytest.mark.parametrize("argument", ["*.tiff", "empty", "sub/*/*/*"])
def test_a_pattern_or_a_folder_without_photos_is_a_mistake(folder: Path, argument: str) -> None:
    (folder / "empty").mkdir()
    with pytest.raises(StartError, match=r"there are no photos in .*\.bmp, .*\.webp"):
        names(folder, argument)


def test_a_folder_that_cannot_be_searched_is_not_passed_over(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.scandir

    def scandir(path: str) -> object:
        if str(path).endswith("deep"):
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(StartError, match=r"cannot look for photos in .*deep: Permission denied"):
        find([str(folder)])


def test_a_file_that_cannot_be_read_says_so_when_it_is(folder: Path) -> None:
    assert PhotoFile(str(folder / "b.jpg")).read() == b"b.jpg"
    for wrong in ("missing.jpg", "sub"):
        assert PhotoFile(str(folder / wrong)).size >= 0
        with pytest.raises(Unreadable, match=r"No such file or directory|Is a directory"):
            PhotoFile(str(folder / wrong)).read()


def test_a_dash_is_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"\xff\xd8 photo")))
    (photo,) = find(["-"])
    assert (photo.name, photo.size, photo.read()) == ("-", 0, b"\xff\xd8 photo")


def test_the_endings_are_of_every_format_that_is_read_and_of_no_other() -> None:
    Image.init()
    heic = {".heic", ".heif", ".hif"}
    assert SUFFIXES & heic == heic
    assert {Image.EXTENSION[suffix] for suffix in SUFFIXES - heic} | {"HEIC"} == set(FORMATS)


def test_what_macos_keeps_beside_photos_is_passed_over(folder: Path) -> None:
    for name in ("._b.jpg", "sub/._c.jpeg", "d.HEIC", "e.avif"):
        (folder / name).write_bytes(b"")
    assert names(folder, "") == ["[odd].gif", "a.PNG", "b.jpg", "d.HEIC", "e.avif", "sub/c.jpeg", "sub/deep/d.webp"]
    with pytest.raises(StartError, match="there are no photos"):
        names(folder, "**/.*")
