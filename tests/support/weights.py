"""One random network, saved in every form that Keras writes and compiled, once for all processes of a run."""

import json
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import pytest

from app.config import Settings
from app.engines.base import patterns
from app.engines.tflite.compile import compiled
from app.engines.tflite.convert import ConversionReport, Photos
from app.engines.tflite.converter import Converter
from app.engines.weights import Weights, locate
from app.mobilenet.variants import Precision, Variant
from tests.support import needs
from tests.support.shared import made_once, shared_folder

VARIANT = Variant(0.25, 64)
CLASSES = 12
PHOTOS = patterns(40, VARIANT.resolution) // 2 + 64
"""What int8 is calibrated on: no pixel of them is black or white."""
FORMS = ("network.h5", "legacy.weights.h5", "network.keras", "network.weights.h5")


def settings(variant: Variant = VARIANT, **values: object) -> Settings:
    """Return settings for the small variant of these tests."""
    given = {name: str(value) for name, value in values.items()}
    return Settings(alpha=variant.alpha, resolution=variant.resolution, **given)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Saved:
    """A folder that has a Keras network in each of `FORMS`, and the labels of its classes."""

    folder: Path

    @cached_property
    def network(self) -> Any:
        """The network itself."""
        import keras

        return keras.saving.load_model(self.folder / "network.keras")

    @property
    def labels(self) -> Path:
        """A file with a label for each class."""
        return self.folder / "labels.txt"


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Saved:
    needs.TENSORFLOW.check()
    return Saved(made_once(shared_folder(tmp_path_factory) / "weights", _save))


def _save(folder: Path) -> None:
    import h5py
    from keras.src.legacy.saving import legacy_h5_format

    from tests.support.networks import lively

    network = lively(VARIANT.alpha, VARIANT.resolution, CLASSES)
    network.save(folder / "network.keras")
    network.save_weights(folder / "network.weights.h5")
    # Keras writes the layout of the published files only as part of a whole model; here it stands alone as there.
    legacy_h5_format.save_model_to_hdf5(network, str(folder / "network.h5"))
    with h5py.File(folder / "legacy.weights.h5", "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, network)
    (folder / "labels.txt").write_text("\n".join(f"class {index}" for index in range(CLASSES)))


@pytest.fixture(scope="session")
def weights(saved: Saved) -> Weights:
    return locate(settings(weights=saved.folder / "network.weights.h5"))


@dataclass(frozen=True)
class Converted:
    """What compiling the network left in a cache, and how it went."""

    folder: Path

    @property
    def cache(self) -> Path:
        """The cache that it was compiled into, and nothing else."""
        return self.folder / "cache"

    @property
    def path(self) -> Path:
        """The compiled model."""
        (path,) = self.cache.glob("*.tflite")
        return path

    @property
    def report(self) -> ConversionReport:
        """What was said of it when it was compiled."""
        return ConversionReport(**json.loads((self.folder / "report.json").read_text()))


@pytest.fixture(scope="session")
def float32_model(weights: Weights, tmp_path_factory: pytest.TempPathFactory) -> Converted:
    """The network in float32."""
    return _converted_once(weights, "float32", tmp_path_factory)


@pytest.fixture(scope="session")
def int8_model(weights: Weights, tmp_path_factory: pytest.TempPathFactory) -> Converted:
    """The network in int8, calibrated on `PHOTOS`."""
    return _converted_once(weights, "int8", tmp_path_factory)


def _converted_once(weights: Weights, precision: Precision, factory: pytest.TempPathFactory) -> Converted:
    def make(folder: Path) -> None:
        with Converter() as converter:  # both by one process with TensorFlow
            for each, photos in {"float32": None, "int8": PHOTOS}.items():
                _convert(weights, cast("Precision", each), photos, folder / each, converter)

    return Converted(made_once(shared_folder(factory) / "converted", make) / precision)


def _convert(weights: Weights, precision: Precision, photos: Photos | None, folder: Path, converter: Converter) -> None:
    _, report = compiled(weights, VARIANT, folder / "cache", precision, photos, converter=converter)
    assert report is not None
    (folder / "report.json").write_text(json.dumps(asdict(report)))
