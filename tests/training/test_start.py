"""Where the weights are that a training starts from, and what is refused before it begins."""

from pathlib import Path

import pytest

from app.engines.bundle import BUNDLED
from app.engines.files import sha256, write_manifest
from app.errors import StartError
from app.training.start import checked, file
from tests.training.test_state import RECIPE

PUBLISHED = RECIPE.model_copy(update={"start": "imagenet"})


def test_bundled_weights_and_random_ones_need_no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOBILENET_PORT", "x")
    assert file(RECIPE) == BUNDLED.weights(0.5)
    assert checked(RECIPE.model_copy(update={"start": "random"})) == ""


def test_published_weights_are_where_the_file_of_settings_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("CACHE", "ALPHA"):
        monkeypatch.setenv(f"MOBILENET_{name}", "")  # so that what the file sets is undone
        monkeypatch.delenv(f"MOBILENET_{name}")
    (tmp_path / ".env").write_text(f"MOBILENET_CACHE={tmp_path}\nMOBILENET_ALPHA=0.25\n")
    there = tmp_path / "mobilenet_5_0_160_tf.h5"
    there.touch()
    assert file(PUBLISHED) == there


def test_a_wrong_setting_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOBILENET_PORT", "x")
    with pytest.raises(StartError, match=r"^MOBILENET_PORT=x: [^\n]+$"):
        file(PUBLISHED)


def test_weights_in_the_home_of_nobody_are_no_file() -> None:
    with pytest.raises(StartError, match=r"^--from ~nobody-at-all/a\.h5: no such file; "):
        file(RECIPE.model_copy(update={"start": "~nobody-at-all/a.h5"}))


def test_weights_of_another_width_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("h5py")
    wider = BUNDLED.weights(0.5)
    assert checked(RECIPE.model_copy(update={"start": str(wider)})) == sha256(wider)
    with pytest.raises(StartError, match=rf"^{wider.name} has weights of α 0\.5, but --alpha is 0\.25$"):
        checked(RECIPE.model_copy(update={"start": str(wider), "alpha": 0.25}))


def test_of_a_folder_of_weights_those_of_the_width_are_taken() -> None:
    assert file(RECIPE.model_copy(update={"start": str(BUNDLED.folder)})) == BUNDLED.weights(0.5)


def test_a_folder_of_weights_of_another_width_or_of_something_else_is_refused(tmp_path: Path) -> None:
    for name in ("photos", "own"):
        (tmp_path / name).mkdir()
    with pytest.raises(
        StartError, match=rf"^--from {tmp_path}/photos: this folder has no weights; allowed are imagene"
    ):
        file(RECIPE.model_copy(update={"start": str(tmp_path / "photos")}))
    (tmp_path / "own" / "own_0.25.weights.h5").touch()
    write_manifest(tmp_path / "own", {tmp_path / "own" / "own_0.25.weights.h5": {"classes": 2}})
    with pytest.raises(StartError, match=rf"^--from {tmp_path}/own: its weights have α 0\.25, but --alpha is 0\.5$"):
        file(RECIPE.model_copy(update={"start": str(tmp_path / "own")}))
