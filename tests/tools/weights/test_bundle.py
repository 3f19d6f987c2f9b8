"""What the bundled files are made from, and what the manifest says of it."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer

from app.config import MODEL_WEIGHTS
from app.engines.bundle import Bundle
from app.engines.files import NAME, entries, sha256
from app.model import calibration
from tools.weights import bundle

MODEL = "imagenette_0.25.int8.tflite"
LEARNT = Path("learnt.weights.h5")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with one of the bundled networks. A conversion gives the name of its source as the model."""
    for pattern in ("imagenette_0.25.*", "*.labels.txt", NAME):
        for path in MODEL_WEIGHTS.glob(pattern):
            shutil.copy(path, tmp_path)
    monkeypatch.setattr(bundle, "MODEL_WEIGHTS", tmp_path)
    monkeypatch.setattr(bundle, "BUNDLED", Bundle(tmp_path, "imagenette"))
    monkeypatch.setattr(calibration, "load", lambda *_: np.zeros((1, 32, 32, 3), np.uint8))

    def convert(source: Path, *_: Any) -> bytes:
        return source.name.encode()

    monkeypatch.setattr(bundle, "convert", convert)
    return tmp_path


def make(**options: Any) -> None:
    bundle.main(**({"alpha": None, "weights": None, "int8": None, "photos": Path()} | options))


def test_a_model_that_the_manifest_knows_is_not_made_again(folder: Path) -> None:
    before = entries(folder)
    make()
    assert (folder / MODEL).read_bytes() == (MODEL_WEIGHTS / MODEL).read_bytes()
    assert entries(folder)[MODEL] == before[MODEL]


def test_a_model_that_was_changed_is_made_again_from_the_weights(folder: Path) -> None:
    (folder / MODEL).write_bytes(b"changed")
    make()
    assert (folder / MODEL).read_bytes() == b"imagenette_0.25.weights.h5"
    assert entries(folder)[MODEL]["source"] == "made from imagenette_0.25.weights.h5 with tools/weights/bundle.py"


def test_int8_is_made_from_weights_that_were_learnt_for_it_and_stays(folder: Path) -> None:
    make(alpha=0.25, int8=LEARNT)
    for _ in range(2):
        assert (folder / MODEL).read_bytes() == b"learnt.weights.h5"
        entry = entries(folder)[MODEL]
        assert entry["sha256"] == sha256(folder / MODEL)
        assert entry["weights_sha256"] == sha256(folder / "imagenette_0.25.weights.h5")
        assert entry["source"] == "made from imagenette_0.25.weights.h5 with tools/training/quantise.py"
        make()


@pytest.mark.parametrize("options", [{"alpha": 0.25}, {"weights": Path("average.weights.h5")}])
def test_weights_to_bundle_come_with_their_alpha(options: Any, folder: Path) -> None:
    with pytest.raises(typer.BadParameter, match="--weights needs --alpha, and --alpha needs --weights or --int8"):
        make(**options)


@pytest.mark.parametrize("options", [{}, {"alpha": 0.25, "weights": Path("average.weights.h5")}])
def test_learnt_weights_belong_to_an_alpha_and_to_the_weights_that_are_bundled(options: Any, folder: Path) -> None:
    before = (folder / NAME).read_text()
    with pytest.raises(typer.BadParameter, match="--int8 needs --alpha"):
        make(int8=LEARNT, **options)
    assert (folder / NAME).read_text() == before
