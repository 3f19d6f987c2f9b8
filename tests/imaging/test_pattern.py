"""A pattern stands for what a shell would find, and a folder that it matches for all that is in it."""

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from glob import iglob
from pathlib import Path
from typing import Any

import pytest

from app.imaging.folder import Entry, Here, matching
from app.imaging.pattern import WHOLE, Pattern, split
from tests.support.patterns import PATTERNS, TREE


def found(argument: str) -> list[str]:
    """Return the files that a pattern stands for on this machine, one that is found twice as often."""
    folder, pattern = split(argument) or ("", WHOLE)
    return sorted(match.path for match in matching(Here(folder), pattern))


def below(path: str) -> list[str]:
    """Return the files that a file or a folder stands for."""
    return [path] if os.path.isfile(path) else [str(one) for one in Path(path).rglob("*") if one.is_file()]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_pattern_finds_what_a_shell_does_and_all_below_the_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pattern: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in TREE:
        Path("photos", name).parent.mkdir(parents=True, exist_ok=True)
        Path("photos", name).write_bytes(b"photo")
    wanted = sorted(f"photos/{name}" for name in PATTERNS[pattern].split())
    spelled = f"{pattern}/*" if pattern.endswith("/**") else pattern  # what `**` at the end stands for, not the start
    by_glob = {os.path.normpath(name) for match in iglob(spelled, recursive=True) for name in below(match)}
    assert sorted(by_glob) == wanted
    assert found(pattern) == wanted
    assert found(f"{tmp_path}/{pattern}") == [f"{tmp_path}/{name}" for name in wanted]


@pytest.mark.parametrize(
    ("argument", "root", "folder", "parts"),
    [
        ("*", 0, "", ("*",)),
        ("a/b/*.jpg", 0, "a/b/", ("*.jpg",)),
        ("/a*/b/./c", 0, "/", ("a*", "b", "c")),
        ("a/**", 0, "a/", ("**", "*")),
        ("a/**/", 0, "a/", ("**", "")),
        ("[ab]//**/?", 0, "", ("[ab]", "**", "?")),
        ("s3://b*/a/x?/c", 3, "s3://b*/a/", ("x?", "c")),
    ],
)
def test_a_pattern_begins_at_the_first_name_that_is_not_plain(
    argument: str, root: int, folder: str, parts: tuple[str, ...]
) -> None:
    assert split(argument, root) == (folder, Pattern(parts))


@pytest.mark.parametrize(("argument", "root"), [("a/b.jpg", 0), ("", 0), ("s3://b*/a", 3)])
def test_what_has_only_plain_names_is_no_pattern(argument: str, root: int) -> None:
    assert split(argument, root) is None


@dataclass(frozen=True, slots=True)
class Endless:
    """A folder with a photo, and with a folder of the same kind, and so on; notes what it is asked for."""

    asked: list[tuple[str, Any]]
    path: str = ""

    def entries(self, names: Sequence[str] | None) -> Iterator[Entry]:
        self.asked.append((self.path, names))
        yield Entry("1.jpg", f"{self.path}1.jpg", None)
        yield Entry("a", f"{self.path}a", Endless(self.asked, f"{self.path}a/"))


@pytest.mark.parametrize(
    ("parts", "asked", "photos"),
    [
        (("*.jpg",), [("", None)], [("1.jpg", True)]),
        (("a", "1.jpg"), [("", ["a"]), ("a/", ["1.jpg"])], [("a/1.jpg", True)]),
        (("?", "b", "*"), [("", None), ("a/", ["b"])], []),
    ],
)
def test_no_folder_is_read_where_nothing_can_match_and_no_more_than_the_names_that_can(
    parts: tuple[str, ...], asked: list[tuple[str, Any]], photos: list[tuple[str, bool]]
) -> None:
    top = Endless([])
    assert list(matching(top, Pattern(parts))) == photos
    assert top.asked == asked


def test_a_photo_in_a_folder_that_matches_is_not_matched_by_itself(tmp_path: Path) -> None:
    for name in ("a/1.jpg", "2.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    matches = matching(Here(str(tmp_path)), Pattern(("*",)))
    assert {os.path.relpath(path, tmp_path): itself for path, itself in matches} == {"a/1.jpg": False, "2.jpg": True}


@pytest.mark.parametrize("pattern", ["*a" * 30 + "b", "**/" * 30 + "b"])
def test_no_pattern_takes_long(tmp_path: Path, pattern: str) -> None:
    name = "a" * 100 + "/" + "a/" * 40 + "a" * 200
    (tmp_path / name).parent.mkdir(parents=True)
    (tmp_path / name).touch()
    begin = time.process_time()
    assert not found(f"{tmp_path}/{pattern}")
    assert time.process_time() - begin < 1
