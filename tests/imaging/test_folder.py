"""All files below a folder are found once, those of linked folders too, and no link leads in a circle."""

import os
from pathlib import Path

import pytest

from app.imaging.folder import files


def found(folder: Path) -> list[str]:
    return sorted(os.path.relpath(name, folder) for name in files(str(folder)))


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
    (tmp_path / "a.jpg").touch()
    (tmp_path / "lost").symlink_to(tmp_path / target)
    assert found(tmp_path) == ["a.jpg", "lost"]
