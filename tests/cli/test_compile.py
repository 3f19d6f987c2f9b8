"""`mobilenet compile`: what int8 needs, and a variant that fails does not keep the others from theirs."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from app.cli.main import cli
from app.engines.bundle import BUNDLED
from app.engines.tflite import compile as compile_module
from app.engines.tflite.convert import ConversionReport
from app.engines.tflite.converter import Converter
from app.errors import StartError
from tests.support.data import solid

ALPHA, SIDE = 0.25, 64


@pytest.fixture
def converted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Have weights of one's own compiled by what needs no TensorFlow; return the shapes of the photos it was given."""
    weights, labels, cache = tmp_path / "own.weights.h5", tmp_path / "labels.txt", tmp_path / "cache"
    shutil.copyfile(BUNDLED.weights(ALPHA), weights)
    shutil.copyfile(BUNDLED.labels, labels)
    settings = {"WEIGHTS": weights, "LABELS": labels, "CACHE": cache, "ALPHA": ALPHA, "RESOLUTION": SIDE}
    for name, value in settings.items():
        monkeypatch.setenv(f"MOBILENET_{name}", str(value))
    monkeypatch.setattr(compile_module, "_tensorflow_version", lambda: "9.9.9")
    shapes: list[tuple[int, ...]] = []

    def convert(_: Converter, source: Path, *arguments: Any) -> ConversionReport:
        alpha, side, precision, target, photos = arguments
        assert (source, alpha, precision) == (weights, ALPHA, "int8")
        if side == 192:
            raise StartError("this one fails")
        shapes.append(np.load(photos).shape)
        target.write_bytes(b"model")
        return ConversionReport(1.0, 1, 1, 0.01)

    monkeypatch.setattr(Converter, "convert", convert)
    return shapes


def run(*arguments: str) -> tuple[int, list[str], list[str]]:
    """Return the exit code, and the lines of both outputs."""
    done = CliRunner().invoke(cli, ["compile", "--precision", "int8", *arguments])
    return done.exit_code, done.stdout.splitlines(), done.stderr.splitlines()


def test_int8_of_weights_of_ones_own_needs_photos(converted: list[tuple[int, ...]]) -> None:
    code, lines, errors = run()
    assert (code, len(lines), converted) == (2, 1, [])
    assert errors == [
        "mobilenet: own.weights.h5 is not compiled to int8 for α 0.25 @ 64; run `mobilenet compile --precision int8 "
        "--calibrate FOLDER` with a folder of photos like those that it will classify"
    ]


def test_it_is_calibrated_on_the_photos_of_the_folder_at_its_resolution_and_kept(
    converted: list[tuple[int, ...]], tmp_path: Path
) -> None:
    (tmp_path / "photos").mkdir()
    for number in range(2):
        (tmp_path / "photos" / f"{number}.png").write_bytes(solid((220, 30, 30)))
    code, lines, _ = run("--calibrate", str(tmp_path / "photos"))
    assert (code, len(lines), converted) == (0, 2, [(2, SIDE, SIDE, 3)])
    (model,) = (tmp_path / "cache").iterdir()
    assert "-0.25-64-int8-" in model.name
    assert model.suffix == ".tflite"


def test_photos_that_no_precision_but_int8_needs_are_refused(tmp_path: Path) -> None:
    done = CliRunner().invoke(cli, ["compile", "--precision", "float32", "--calibrate", str(tmp_path)])
    assert isinstance(done.exception, StartError)
    assert str(done.exception) == "--calibrate is for int8, and float32 needs no photos; add --precision int8"


def test_a_variant_that_fails_does_not_keep_the_others_from_theirs(
    converted: list[tuple[int, ...]], tmp_path: Path
) -> None:
    (tmp_path / "photos").mkdir()
    for number in range(2):
        (tmp_path / "photos" / f"{number}.png").write_bytes(solid((220, 30, 30)))
    code, lines, errors = run("--all", "--calibrate", str(tmp_path / "photos"))
    assert (code, errors.count("mobilenet: this one fails")) == (2, 1)
    assert converted == [(2, side, side, 3) for side in (224, 160, 128)]
    assert len(lines) == 1 + len(converted)
