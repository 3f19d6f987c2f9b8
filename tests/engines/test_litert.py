"""What the engine of LiteRT says of a file that it cannot load."""

from pathlib import Path

import pytest

from app.engines.litert import LiteRTEngine
from app.engines.tflite import foreign
from app.errors import StartError
from app.mobilenet.variants import Variant


def test_a_file_that_cannot_be_read_is_not_called_damaged(tmp_path: Path) -> None:
    for path, says in ((tmp_path, "Is a directory"), (tmp_path / "gone.tflite", "No such file or directory")):
        with pytest.raises(StartError, match=rf"^cannot read {path}: {says}$"):
            LiteRTEngine(path, 1)
        with pytest.raises(StartError, match=rf"^cannot read {path}: {says}$"):
            foreign.load(path, Variant(0.25, 128), "float32", 1)


def test_a_file_that_is_no_model_says_so(tmp_path: Path) -> None:
    (tmp_path / "model.tflite").write_bytes(b"nonsense")
    with pytest.raises(StartError, match=r"model\.tflite is not a compiled model; delete it and start again$"):
        LiteRTEngine(tmp_path / "model.tflite", 1)
