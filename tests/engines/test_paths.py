"""A path of the settings that cannot be looked at is one line, which names it and its setting."""

import tempfile
from pathlib import Path

import numpy as np
import pytest

from app.config import Settings
from app.engines.bundle import BUNDLED
from app.engines.tflite import compile as compile_module
from app.engines.tflite.compile import compiled
from app.engines.tflite.convert import Photos
from app.engines.tflite.converter import Converter
from app.engines.weights import Weights, locate, variants
from app.errors import CannotWrite, StartError
from app.mobilenet.variants import Variant

LONG = "x" * 300
VARIANT = Variant(0.25, 128)
PHOTOS = np.zeros((2, 128, 128, 3), np.uint8)


@pytest.fixture
def weights() -> Weights:
    path = BUNDLED.weights(VARIANT.alpha)
    return Weights(path.name, path, "ab" * 32)


@pytest.mark.parametrize("name", [LONG, f"{LONG}.h5"])
def test_weights_whose_name_is_too_long(name: str, tmp_path: Path) -> None:
    given = Settings(weights=str(tmp_path / name))
    for use in (locate, variants):
        with pytest.raises(StartError, match=f"^MOBILENET_WEIGHTS: cannot read {tmp_path / name}: File name too long$"):
            use(given)


@pytest.mark.parametrize("tensorflow", ["9.9.9", None])
def test_a_cache_whose_name_is_too_long(
    tensorflow: str | None, weights: Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compile_module, "_tensorflow_version", lambda: tensorflow)
    says = f"^MOBILENET_CACHE: cannot read {tmp_path / LONG}.*: File name too long$"
    with pytest.raises(StartError, match=says):
        compiled(weights, VARIANT, tmp_path / LONG)
    with pytest.raises(StartError, match=says):
        locate(Settings(weights="imagenet", alpha=0.25, resolution=128, cache=tmp_path / LONG))


def test_a_record_of_published_weights_that_cannot_be_read(tmp_path: Path) -> None:
    name = "mobilenet_2_5_128_tf.h5"
    (tmp_path / name).touch()
    record = tmp_path / f"{name}.sha256"
    record.symlink_to(tmp_path / LONG)
    with pytest.raises(StartError, match=f"^MOBILENET_CACHE: cannot read {record}: File name too long$"):
        locate(Settings(weights="imagenet", alpha=0.25, resolution=128, cache=tmp_path))


@pytest.mark.parametrize("photos", [PHOTOS, None], ids=["int8", "float32"])
def test_a_temporary_folder_that_cannot_be_written_is_not_blamed_on_the_cache(
    photos: Photos | None, weights: Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compile_module, "_tensorflow_version", lambda: "9.9.9")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    says = rf"^cannot write temporary files in {tmp_path / 'gone'}: No such file or directory; set TMPDIR to"
    with pytest.raises(CannotWrite, match=says):
        compiled(weights, VARIANT, tmp_path / "cache", "float32" if photos is None else "int8", photos)


def test_a_process_that_cannot_be_started_is_not_blamed_on_the_cache(
    weights: Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compile_module, "_tensorflow_version", lambda: "9.9.9")
    monkeypatch.setattr("sys.executable", str(tmp_path / "gone"))
    with Converter() as converter, pytest.raises(StartError, match=r"^cannot start the process that compiles: No "):
        compiled(weights, VARIANT, tmp_path / "cache", converter=converter)
    assert not list((tmp_path / "cache").iterdir())
