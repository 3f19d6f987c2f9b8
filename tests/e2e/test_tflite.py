"""A `.tflite` file of others, converted from Keras, behind the real service."""

from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from app.config import MODEL_WEIGHTS
from app.imaging.decode import decode
from tests.e2e.test_start import fails_to_start
from tests.support.foreign import interpreted
from tests.support.images import encoded
from tests.support.networks import images
from tests.support.processes import Serve, mobilenet
from tests.support.weights import CLASSES, VARIANT, Saved


def answer(url: str, file: bytes) -> list[float]:
    """Return the probabilities of all classes, in their order."""
    found: Any = httpx.post(f"{url}/predict?top_k={CLASSES}", content=file).json()
    predictions = found["results"][0]["predictions"]
    return [one["probability"] for one in sorted(predictions, key=lambda one: one["class_id"])]


@pytest.mark.tensorflow
@pytest.mark.parametrize("name", ["float32", "int8"])
def test_it_answers_as_the_interpreter_does(name: str, foreign: Path, saved: Saved, serve: Serve) -> None:
    path = foreign / f"{name}.tflite"
    process = serve(WEIGHTS=path, LABELS=saved.labels, ALPHA=VARIANT.alpha, RESOLUTION=VARIANT.resolution)
    for image in images(3, VARIANT.resolution, seed=9):
        file = encoded(Image.fromarray(image), "PNG")
        expected = interpreted(path, decode(file, resolution=VARIANT.resolution, max_pixels=10**6))
        found = answer(process.url, file)
        np.testing.assert_allclose(found, expected / expected.sum(), atol=1e-5)
    info = httpx.get(f"{process.url}/model-info").json()
    assert (info["weights"], info["precision"], info["classes"]) == (path.name, name, CLASSES)
    assert process.stop() == 0


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("content", "settings", "says"),
    [
        (b"text", {}, "own.tflite is not a TensorFlow Lite model, or it is damaged"),
        (
            None,
            {"ALPHA": 0.5},
            "is a MobileNetV1 of α 0.25 @ 160, but MOBILENET_ALPHA=0.5 and MOBILENET_RESOLUTION=160",
        ),
        (None, {"VARIANTS": "0.25/128"}, "MOBILENET_VARIANTS=0.25/128: own.tflite is one variant"),
    ],
)
def test_what_is_wrong_is_one_line_and_exit_code_2(
    content: bytes | None, settings: dict[str, object], says: str, tmp_path: Path
) -> None:
    bundled = MODEL_WEIGHTS / "imagenette_0.25.int8.tflite"
    (tmp_path / "own.tflite").write_bytes(content or bundled.read_bytes())
    given = {"WEIGHTS": tmp_path / "own.tflite", "ALPHA": 0.25, "CACHE": tmp_path, "PORT": 0}
    assert says in fails_to_start(mobilenet("serve"), given | settings)
