"""The same photos and the same seed give the same classifier; `test_train.py` looks at all layers."""

import hashlib
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app.engines.keras.reader import read
from tests.support.processes import environment, mobilenet

pytestmark = [pytest.mark.tensorflow, pytest.mark.timeout(1800)]  # it trains twice and has models compiled

COLOURS = {"red": (200, 40, 40), "green": (40, 170, 60)}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repeats") / "photos"
    for at, (name, colour) in enumerate(COLOURS.items()):
        (folder / name).mkdir(parents=True)
        for number in range(8):
            shades = np.random.default_rng(10 * at + number).integers(-40, 40, (6, 8, 3)) + np.array(colour)
            pixels = shades.clip(0, 255).astype(np.uint8).repeat(20, axis=0).repeat(20, axis=1)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder


def test_the_same_seed_gives_the_same_weights_with_the_classifier_alone_trained(photos: Path, tmp_path: Path) -> None:
    first, second = (_trained(photos, tmp_path / name) for name in ("first", "second"))
    for one, other in zip(read(first, 0.25), read(second, 0.25), strict=True):
        np.testing.assert_array_equal(one, other)
    for precision in ("float32", "int8"):
        compiled = [next(path.parent.glob(f"*.{precision}.tflite")) for path in (first, second)]
        digests = {hashlib.sha256(path.read_bytes()).hexdigest() for path in compiled}
        assert len(digests) == 1, f"the {precision} models differ"


def _trained(photos: Path, output: Path) -> Path:
    """Train into a folder; return the file of the weights. Nothing of the libraries is on standard error."""
    variant = ("--alpha", "0.25", "--resolution", "128")
    command = mobilenet("train", str(photos), "--head-only", *variant, "--output", str(output))
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=850, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines() + done.stdout.splitlines()
    assert [line for line in lines if not line.startswith("mobilenet: ")] == [], "libraries chatter"
    (weights,) = output.glob("*.weights.h5")
    return weights
