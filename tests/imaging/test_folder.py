"""All files below a folder are found once, those of linked folders too, and no link leads in a circle."""

import os
from pathlib import Path

import pytest

from app.imaging.folder import Here, files, matching
from app.imaging.pattern import Pattern


def found(folder: Path) -> list[str]:
    return sorted(os.path.relpath(name, folder) for name in files(str(folder)))


def matched(folder: Path, *parts: str) -> list[str]:
    return sorted(os.path.relpath(match.path, folder) for match in matching(Here(str(folder)), Pattern(parts)))


def test_a_linked_folder_is_one_of_the_folder(tmp_path: Path) -> None:
    for name in ("photos", "elsewhere/deep"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "elsewhere" / "deep" / "a.jpg").touch()
    (tmp_path / "photos" / "b.jpg").touch()
    (tmp_path / "photos" / "linked").symlink_to(tmp_path / "elsewhere")
    assert found(tmp_path / "photos") == ["b.jpg", "linked/deep/a.jpg"]


@pytest.mark.parametrize("target", [".", "..", "../.."])
def test_a_link_to_a_folder_that_it_is_in_is_passed_over(tmp_path: Path, target: str) -> None:
    (tmp_path / "photos" / "sub").mkdir(parents=True)
    (tmp_path / "photos" / "sub" / "a.jpg").touch()
    (tmp_path / "photos" / "sub" / "circle").symlink_to(target)
    assert [name for name in found(tmp_path / "photos") if "a.jpg" in name] == ["sub/a.jpg"]


def test_two_folders_that_link_to_each_other_are_each_entered_once_from_each_side(tmp_path: Path) -> None:
    for name, other in (("one", "two"), ("two", "one")):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.jpg").touch()
        (tmp_path / name / "other").symlink_to(tmp_path / other)
    assert found(tmp_path) == ["one/one.jpg", "one/other/two.jpg", "two/other/one.jpg", "two/two.jpg"]


@pytest.mark.parametrize("target", ["lost", "nowhere"])
def test_a_link_that_leads_nowhere_harms_no_file_beside_it(tmp_path: Path, target: str) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.jpg").touch()
    (tmp_path / "sub" / "lost").symlink_to(tmp_path / "sub" / target)
    assert found(tmp_path) == ["sub/a.jpg", "sub/lost"]
    assert matched(tmp_path, "s*", "lost") == matched(tmp_path, "s*", "l*") == ["sub/lost"]


def test_a_pattern_takes_no_photo_twice_where_links_lead_in_a_circle(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.jpg").touch()
    (tmp_path / "sub" / "circle").symlink_to(tmp_path)
    for parts in (("**", "*.jp*g"), ("*",), ("**", "*")):
        assert matched(tmp_path, *parts) == ["sub/a.jpg"]


def test_a_link_that_a_pattern_names_is_followed_to_a_folder_that_it_is_in(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "up").symlink_to(tmp_path)
    (tmp_path / "a.jpg").touch()
    assert matched(tmp_path, "s*", "up", "*.jpg") == matched(tmp_path, "s*", "up", "**", "*.jpg") == ["sub/up/a.jpg"]


def test_a_name_behind_a_wildcard_is_found_in_a_folder_that_may_not_be_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sub" / "deep").mkdir(parents=True)
    (tmp_path / "sub" / "deep" / "a.jpg").touch()
    real = os.scandir

    def scandir(path: str) -> object:
        if os.path.basename(path) == "sub":
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert matched(tmp_path, "s*", "deep", "*") == ["sub/deep/a.jpg"]
    with pytest.raises(PermissionError):
        matched(tmp_path, "s*", "d*", "*")
