"""The bundled files are what their manifest says, and nothing else is served as bundled."""

from pathlib import Path

import pytest

from app.config import MODEL_WEIGHTS
from app.engines.bundle import Bundle
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


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("entry = 3", "it says no SHA-256 of entry"),
        ('["own_0.5.weights.h5"]\nsize = 1', r"it says no SHA-256 of own_0\.5\.weights\.h5"),
        ('["own_0.5.weights.h5"]\nsha256 = 1', r"it says no SHA-256 of own_0\.5\.weights\.h5"),
        ("x = " + "[" * 100_000, "maximum recursion depth exceeded.*"),
        ("[", ".+"),
    ],
    ids=["number", "without", "wrong", "deep", "no TOML"],
)
def test_a_damaged_manifest_is_one_line_that_names_it(text: str, says: str, tmp_path: Path) -> None:
    (tmp_path / NAME).write_text(text)
    for use in (entries, Bundle.open):
        with pytest.raises(StartError, match=rf"^cannot read {tmp_path / NAME}: {says}$"):
            use(tmp_path)


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ([], r"names no weights \(NAME_α\.weights\.h5\)"),
        (["labels.txt", "nameless.weights.h5"], r"names no weights \(NAME_α\.weights\.h5\)"),
        (["b_0.5.weights.h5", "a_0.5.weights.h5", "a_1.weights.h5"], "names weights of several names: a, b"),
    ],
)
def test_a_folder_is_of_one_kind_of_weights(files: list[str], says: str, tmp_path: Path) -> None:
    (tmp_path / NAME).write_text("".join(f'["{name}"]\nsha256 = "0"\n' for name in files))
    with pytest.raises(StartError, match=rf"^the manifest of {tmp_path} {says}$"):
        Bundle.open(tmp_path)
