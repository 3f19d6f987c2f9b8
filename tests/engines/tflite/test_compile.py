import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from app.config import MODEL_WEIGHTS
from app.engines.litert import LiteRTEngine
from app.engines.tflite import compile as compile_module
from app.engines.tflite.compile import compiled
from app.engines.tflite.converter import Converter
from app.engines.tflite.interface import answer_first
from app.engines.weights import Weights, locate
from app.errors import StartError
from app.mobilenet.variants import RESOLUTIONS, Variant
from tests.support.weights import CLASSES, PHOTOS, VARIANT, Converted, Saved, settings

pytestmark = pytest.mark.tensorflow


def test_the_compiled_model_has_no_variables_and_no_batch_normalisation_left(float32_model: Converted) -> None:
    details = LiteRTEngine(float32_model.path, 1)._interpreter._get_ops_details()
    names = [operation["op_name"] for operation in details]
    assert not {"VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE"} & set(names)
    # 27 convolutions and the classifier; what is folded in has no operation of its own.
    assert names.count("CONV_2D") + names.count("DEPTHWISE_CONV_2D") == 28
    assert not {"PAD", "RELU6", "RSQRT", "SUB"} & set(names)


def test_the_compiled_model_takes_bytes_and_gives_logits_and_features(float32_model: Converted) -> None:
    interpreter = LiteRTEngine(float32_model.path, 1)._interpreter
    assert interpreter.get_input_details()[0]["dtype"] == np.uint8
    outputs = answer_first(interpreter.get_output_details())
    assert [output["dtype"] for output in outputs] == [np.float32] * 2
    assert [list(output["shape"]) for output in outputs] == [[1, CLASSES], [1, 7, 7, 256]]
    assert "SOFTMAX" not in {operation["op_name"] for operation in interpreter._get_ops_details()}


def test_a_compiled_model_is_reused_and_not_compiled_again(
    weights: Weights, float32_model: Converted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("compiled again"))
    assert compiled(weights, VARIANT, float32_model.cache) == (float32_model.path, None)
    assert list(float32_model.cache.glob("*.part")) == []


def test_the_key_has_the_weights_the_variant_the_precision_and_the_versions(
    saved: Saved, weights: Weights, float32_model: Converted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert float32_model.path.name.startswith(f"{weights.sha256[:16]}-0.25-float32-")
    asked: list[str] = []
    monkeypatch.setattr(compile_module, "_compile_to", lambda path, *_, **__: asked.append(path.name))
    other = locate(settings(weights=saved.folder / "network.keras"))
    compiled(other, VARIANT, tmp_path)
    compiled(weights, Variant(0.25, 96), tmp_path)
    compiled(weights, Variant(0.25, 96), tmp_path, "int8", PHOTOS)
    monkeypatch.setattr(compile_module, "_tensorflow_version", lambda: "9.9.9")
    compiled(weights, VARIANT, tmp_path)
    monkeypatch.setattr(compile_module, "REVISION", 999)
    compiled(weights, VARIANT, tmp_path)
    compiled(weights, VARIANT, tmp_path, "int8", PHOTOS)
    assert len(set(asked)) == len(asked) == 6


@pytest.mark.parametrize("resolution", RESOLUTIONS)
def test_one_model_in_float32_serves_every_resolution(
    weights: Weights, float32_model: Converted, resolution: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("compiled again"))
    assert compiled(weights, Variant(0.25, resolution), float32_model.cache) == (float32_model.path, None)


def test_without_tensorflow_a_model_that_was_compiled_elsewhere_is_served(
    weights: Weights, float32_model: Converted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compile_module, "_tensorflow_version", lambda: None)
    assert compiled(weights, VARIANT, float32_model.cache) == (float32_model.path, None)
    with pytest.raises(StartError, match=r"for α 0\.25 @ 64, float32, is not compiled in .* TensorFlow is not"):
        compiled(weights, VARIANT, tmp_path)


def test_what_is_wrong_with_the_weights_is_said_before_anything_is_compiled(
    weights: Weights, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(StartError, match=r"has weights of α 0\.25"):
        compiled(weights, Variant(0.5, 64), tmp_path)
    assert capfd.readouterr().err == ""
    assert not list(tmp_path.iterdir())


def test_a_subprocess_that_fails_ends_in_its_last_line_and_leaves_no_file(
    weights: Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(StartError, match="exit code 1"):
        compiled(weights, VARIANT, tmp_path)
    assert not list(tmp_path.iterdir())


def test_what_was_compiled_of_weights_that_were_replaced_meanwhile_is_not_kept_as_theirs(
    weights: Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = tmp_path / "own.weights.h5"
    shutil.copyfile(weights.path, found)

    def compile_(*_: object) -> None:
        found.write_bytes(b"another file")

    monkeypatch.setattr(Converter, "convert", compile_)
    with pytest.raises(StartError, match=r"own\.weights\.h5 was replaced while it was compiled; try again"):
        compiled(Weights(found.name, found, weights.sha256), VARIANT, tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())


def test_a_cache_that_cannot_be_written_is_named(weights: Weights, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StartError, match=r"MOBILENET_CACHE=.*file/cache: cannot write there: Not a directory"):
        compiled(weights, VARIANT, tmp_path / "file" / "cache")


def test_compiling_and_serving_keep_tensorflow_out_of_the_process(
    weights: Weights, saved: Saved, float32_model: Converted
) -> None:
    values: dict[str, object] = {
        "weights": str(weights.path),
        "cache": str(float32_model.cache),
        "labels": str(saved.labels),
    }
    values |= {"alpha": VARIANT.alpha, "resolution": VARIANT.resolution}
    code = f"""
import sys
from app.config import Settings
from app.model import loading
loading.load(Settings(**{values!r}))
assert "tensorflow" not in sys.modules and "keras" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_compiling_reports_how_far_the_model_agrees_with_keras(float32_model: Converted) -> None:
    report = float32_model.report
    assert (report.same_top1, report.images) == (100, 100)
    assert 0 < report.largest_difference < 1e-4
    assert report.seconds > 0
    assert list(float32_model.cache.iterdir()) == [float32_model.path]


def test_int8_is_compared_with_keras_on_a_quarter_of_the_photos(int8_model: Converted) -> None:
    report = int8_model.report
    assert report.images == len(PHOTOS) // 4
    assert 1e-4 < report.largest_difference < 0.5
    assert LiteRTEngine(int8_model.path, 1, "int8").classes == CLASSES


def test_int8_without_photos_says_how_to_make_it(weights: Weights, tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"not compiled to int8 for α 0\.25 @ 64; run `mobilenet compile"):
        compiled(weights, VARIANT, tmp_path, "int8")


@pytest.mark.parametrize("variant", [Variant(0.25, 224), Variant(0.5, 128)])
def test_the_bundled_weights_have_their_int8_beside_them(variant: Variant, tmp_path: Path) -> None:
    path, report = compiled(locate(settings(variant)), variant, tmp_path, "int8")
    assert path == MODEL_WEIGHTS / f"imagenette_{variant.alpha:g}.int8.tflite"
    assert report is None
