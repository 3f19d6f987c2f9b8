"""The bundled files are what their manifest says, and nothing else is served as bundled."""

from pathlib import Path

import pytest

from app.config import MODEL_WEIGHTS
from app.engines.files import NAME, entries, sha256, verified
from app.errors import StartError
from app.model.labels import load

ENTRIES = entries(MODEL_WEIGHTS)


def test_every_bundled_file_is_in_the_manifest_with_its_size_classes_source_and_licence() -> None:
    assert set(ENTRIES) == {path.name for path in MODEL_WEIGHTS.iterdir() if path.suffix in {".h5", ".tflite", ".txt"}}
    for name, entry in ENTRIES.items():
        assert verified(MODEL_WEIGHTS / name).stat().st_size == entry["size"]
        assert entry["classes"] == (1000 if name == "imagenet.labels.txt" else 10)
        assert entry["source"]
        assert entry["licence"]


def test_every_model_in_int8_was_made_from_the_weights_beside_it() -> None:
    models = [name for name in ENTRIES if name.endswith(".int8.tflite")]
    assert len(models) == sum(name.endswith(".weights.h5") for name in ENTRIES)
    for name in models:
        source = MODEL_WEIGHTS / name.replace(".int8.tflite", ".weights.h5")
        assert ENTRIES[name]["weights_sha256"] == sha256(source)


def test_the_labels_are_as_many_as_the_classes() -> None:
    for name in ("imagenet.labels.txt", "imagenette.labels.txt"):
        assert len(load(MODEL_WEIGHTS / name)) == ENTRIES[name]["classes"]


def test_a_file_that_is_not_what_the_manifest_says_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    with pytest.raises(StartError, match=f"cannot read {tmp_path / NAME}"):
        verified(path)
    (tmp_path / NAME).write_text('["other.tflite"]\nsha256 = "0"\n')
    with pytest.raises(StartError, match=rf"model\.tflite is not in {tmp_path / NAME}"):
        verified(path)
    (tmp_path / NAME).write_text('["model.tflite"]\nsha256 = "0"\n')
    with pytest.raises(StartError, match=rf"cannot read {path}: No such file"):
        verified(path)
    path.write_bytes(b"model")
    with pytest.raises(
        StartError, match=rf"{path} is damaged or was replaced: its SHA-256 is {sha256(path)}, but MANIFEST.toml says 0"
    ):
        verified(path)
    (tmp_path / NAME).write_text(f'["model.tflite"]\nsha256 = "{sha256(path)}"\n')
    assert verified(path) == path
