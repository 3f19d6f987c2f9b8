from pathlib import Path

import numpy as np
import pytest

from app.errors import StartError
from app.model import calibration
from tests.support.data import solid

LIMIT = 10**6


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for red in range(12):
        path = tmp_path / f"class {red % 3}" / f"{red}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(solid((red * 20, 0, 0)))
    (tmp_path / "notes.txt").write_text("no image")
    return tmp_path


def test_every_image_below_a_folder_is_read_and_what_is_none_is_left_out(folder: Path) -> None:
    photos = calibration.load(folder, 64, LIMIT)
    assert photos.shape == (12, 64, 64, 3)
    assert photos.dtype == np.uint8
    assert {int(photo[0, 0, 0]) for photo in photos} == {red * 20 for red in range(12)}


def test_of_many_some_of_all_kinds_are_taken_and_always_the_same(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "COUNT", 6)
    photos = calibration.load(folder, 32, LIMIT)
    np.testing.assert_array_equal(photos, calibration.load(folder, 32, LIMIT))
    assert len(photos) == 6
    assert len({int(photo[0, 0, 0]) // 20 % 3 for photo in photos}) == 3


def test_a_folder_without_images_is_named(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=f"there is no image to calibrate with in {tmp_path}"):
        calibration.load(tmp_path, 64, LIMIT)


def test_a_single_image_is_too_few_as_another_has_to_be_compared_on(tmp_path: Path) -> None:
    (tmp_path / "only.png").write_bytes(solid((200, 0, 0)))
    with pytest.raises(StartError, match=f"^there is one image to calibrate with in {tmp_path}, and 2 are the fewest"):
        calibration.load(tmp_path, 64, LIMIT)


def test_a_file_that_may_not_be_looked_at_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def locked(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_file", locked)
    with pytest.raises(StartError, match=rf"^--calibrate: cannot read {folder}/\S.*: Permission denied$"):
        calibration.load(folder, 64, LIMIT)
