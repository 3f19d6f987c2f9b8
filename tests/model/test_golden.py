"""A model with wrong weights or wrong preprocessing is never ready."""

import json
import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image, ImageOps

from app.config import MODEL_WEIGHTS, Settings
from app.engines.base import Pixels, Predictions
from app.engines.bundle import BUNDLED
from app.engines.litert import LiteRTEngine
from app.engines.tflite.interface import Interface
from app.imaging import decode
from app.main import create_app
from app.mobilenet.variants import RESOLUTIONS, Precision, Variant
from app.model import golden
from app.model.labels import load
from app.model.selftest import SelfTestFailed
from tests.support.client import check_problem
from tests.support.data import solid
from tests.support.fakes import ColourEngine, colour_model, serving

LABELS = load(MODEL_WEIGHTS / "imagenette.labels.txt")
WIDTHS = BUNDLED.alphas


def int8(alpha: float, resolution: int) -> Any:
    engine = LiteRTEngine(BUNDLED.compiled(alpha, "int8"), 1, "int8")
    return replace(
        colour_model(),
        engine=engine,
        variant=Variant(alpha, resolution),
        labels=LABELS,
        weights=BUNDLED.name,
        golden=BUNDLED.golden,
    )


def test_every_bundled_variant_and_precision_is_pinned_with_room_for_rounding() -> None:
    pinned = {
        (answers.alpha, answers.resolution, answers.precision): answers for answers in golden.read(BUNDLED.golden)
    }
    assert set(pinned) == {(a, r, p) for a in WIDTHS for r in RESOLUTIONS for p in ("float32", "int8")}
    for answers in pinned.values():
        assert set(answers.probabilities) == {"golf-ball.webp", "parachute.png", "street.jpg"}
        best = [sorted(shares)[:-3:-1] for shares in answers.probabilities.values()]
        clear = [np.log(first / second) > golden.TOLERANCES[answers.precision] for first, second in best]
        assert sum(clear) >= 2, "images whose best class no rounding changes"


def test_the_images_are_a_few_kilobytes() -> None:
    assert sum(path.stat().st_size for path in BUNDLED.golden.iterdir()) < 32_000


@pytest.mark.parametrize("alpha", WIDTHS)
@pytest.mark.parametrize("resolution", RESOLUTIONS)
def test_the_bundled_models_pass(alpha: float, resolution: int) -> None:
    golden.check(int8(alpha, resolution))


def changed(change: Callable[[Image.Image], Image.Image]) -> Callable[..., Any]:
    """Return a decoder that does something else with the opened image."""

    def decode(data: bytes, *, resolution: int, max_pixels: int) -> Any:
        image = change(ImageOps.exif_transpose(Image.open(BytesIO(data))))
        white = Image.new("RGB", image.size, "white")
        white.paste(image, mask=image.getchannel("A") if image.mode == "RGBA" else None)
        buffer = BytesIO()
        white.save(buffer, "PNG")
        return real(buffer.getvalue(), resolution=resolution, max_pixels=max_pixels)

    return decode


real = decode.decode


def unturned(data: bytes, **how: Any) -> Any:
    buffer = BytesIO()
    Image.open(BytesIO(data)).save(buffer, "PNG", exif=b"")
    return real(buffer.getvalue(), **how)


WRONG: dict[str, Callable[..., Any]] = {
    "blue for red": lambda data, **how: np.ascontiguousarray(real(data, **how)[..., ::-1]),
    "half as bright": lambda data, **how: real(data, **how) // 2,
    "upside down": lambda data, **how: np.ascontiguousarray(real(data, **how)[::-1]),
    "not turned by EXIF": unturned,
    "transparency on black": changed(lambda image: image.convert("RGB")),
    "squashed instead of cropped": changed(lambda image: image.resize((max(image.size), max(image.size)))),
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("alpha", WIDTHS)
@pytest.mark.parametrize("resolution", RESOLUTIONS)
def test_wrong_preprocessing_is_noticed(
    name: str, alpha: float, resolution: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decode, "decode", WRONG[name])
    with pytest.raises(SelfTestFailed, match="wrong weights or wrong preprocessing"):
        golden.check(int8(alpha, resolution))


def test_weights_of_another_training_are_noticed_and_the_reason_is_in_readyz(tmp_path: Path) -> None:
    shutil.copytree(BUNDLED.golden, tmp_path / "golden")
    path = tmp_path / "golden" / "answers.json"
    pinned = json.loads(path.read_text())
    for answers in pinned:
        for shares in answers["probabilities"].values():
            shares[:] = shares[::-1]
    path.write_text(json.dumps(pinned))
    model = int8(WIDTHS[0], 128)
    with pytest.raises(SelfTestFailed, match=r"the golden image \S+ is '.*', expected '.*'"):
        golden.check(replace(model, golden=tmp_path / "golden"))
    wrong = replace(model, golden=BUNDLED.golden, labels=LABELS, engine=int8(WIDTHS[-1], 128).engine)
    with TestClient(create_app(Settings(max_batch_size=1), serving(wrong))) as client:
        while "is loading" in (answer := client.get("/readyz")).text:
            pass
        assert "golden image" in check_problem(answer, 503, "starting")
        check_problem(client.post("/predict", content=b"x"), 503, "starting")
        assert client.get("/healthz").status_code == 200


class Pinned(ColourEngine):
    """Answers every image alike, with the probabilities it is given, in either precision."""

    def __init__(self, shares: Sequence[float], precision: Precision = "float32") -> None:
        self._shares, self.precision = shares, precision
        self.classes = len(shares)

    def predict(self, images: Sequence[Pixels]) -> Predictions:
        """Return the predictions of a model that gives only probabilities."""
        return Interface(output="probabilities").decode(np.array([self._shares] * len(images), np.float32))


def pin(folder: Path, *shares: float, **other: Any) -> None:
    """Pin these probabilities, of an image in this folder, for the model of colours, or of one that is otherwise."""
    key: dict[str, Any] = {"weights": "colours", "alpha": 0.25, "resolution": 64, "precision": "float32"} | other
    (folder / "photo.png").write_bytes(solid((220, 30, 30)))
    (folder / "answers.json").write_text(json.dumps([{**key, "probabilities": {"photo.png": shares}}]))


def check(folder: Path, *shares: float, precision: Precision = "float32") -> None:
    golden.check(replace(colour_model(), engine=Pinned(shares, precision), golden=folder))


OTHERS: list[dict[str, Any]] = [{"weights": "own.h5"}, {"alpha": 0.5}, {"resolution": 96}, {"precision": "int8"}]


@pytest.mark.parametrize("other", OTHERS, ids=str)
def test_answers_are_those_of_the_same_weights_variant_and_precision_alone(
    other: dict[str, Any], tmp_path: Path
) -> None:
    pin(tmp_path, 0.1, 0.9)
    with pytest.raises(SelfTestFailed):
        check(tmp_path, 0.9, 0.1)
    pin(tmp_path, 0.1, 0.9, **other)
    check(tmp_path, 0.9, 0.1)


@pytest.mark.parametrize(("precision", "within", "beyond"), [("float32", 0.09, 0.11), ("int8", 0.45, 0.55)])
def test_a_probability_may_differ_by_what_rounding_does_in_its_precision(
    precision: Precision, within: float, beyond: float, tmp_path: Path
) -> None:
    pin(tmp_path, 0.9, 0.1, precision=precision)
    for sign in (1, -1):
        check(tmp_path, 0.9, 0.1 * math.exp(sign * within), precision=precision)
        with pytest.raises(SelfTestFailed, match=f"is 'red', expected 'red', .* {math.exp(beyond):.3g} times"):
            check(tmp_path, 0.9, 0.1 * math.exp(sign * beyond), precision=precision)


def test_probabilities_of_next_to_nothing_are_equal(tmp_path: Path) -> None:
    pin(tmp_path, 1, 1e-9)
    check(tmp_path, 1, 1.1e-5)
    with pytest.raises(SelfTestFailed):
        check(tmp_path, 1, 1.2e-5)
    pin(tmp_path, 1, 1.2e-5)
    with pytest.raises(SelfTestFailed):
        check(tmp_path, 1, 0)


def test_another_number_of_classes_is_said(tmp_path: Path) -> None:
    pin(tmp_path, 0.5, 0.3, 0.2)
    with pytest.raises(SelfTestFailed, match="2 classes instead of 3"):
        check(tmp_path, 0.9, 0.1)
