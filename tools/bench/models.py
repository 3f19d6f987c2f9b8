"""The file that a peer serves: the service's own compiled model, or the same network as a Keras or ONNX file."""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from app.config import Settings
from app.engines.keras.reader import read
from app.engines.tflite.compile import compiled
from app.engines.weights import Weights, locate
from tools.bench.contenders import FOLDER, Contender
from tools.bench.environments import python_with, run

ONNX = ("onnx==1.23.2", "numpy")


def model_file(settings: Settings, contender: Contender) -> Path:
    """Return the model that a peer serves; it is made now if it does not exist yet. Raises `ContenderFailed`."""
    weights = locate(settings)
    if contender.model == "tflite":
        return compiled(weights, settings.variant, settings.cache).path
    path = FOLDER / f"{weights.sha256[:16]}-{settings.alpha:g}-{settings.resolution}.{contender.model}"
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.is_file():
        (_keras if contender.model == "keras" else _onnx)(weights, settings, path)
    return path


def _keras(weights: Weights, settings: Settings, target: Path) -> None:
    arguments = (str(weights.path), str(settings.alpha), str(settings.resolution), str(target))
    run(sys.executable, "-m", "tools.bench.keras_file", *arguments)


def _onnx(weights: Weights, settings: Settings, target: Path) -> None:
    with TemporaryDirectory() as folder:
        arrays = Path(folder) / "arrays.npz"
        np.savez(arrays, *read(weights.path, settings.alpha))
        arguments = (str(arrays), str(settings.alpha), str(settings.resolution), str(target))
        run(str(python_with("onnx", ONNX)), "-m", "tools.bench.onnx_file", *arguments)
