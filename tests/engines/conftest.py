"""One random network, saved in every form that Keras writes, and compiled once."""

from pathlib import Path
from typing import Any, NamedTuple

import pytest

from app.config import Settings
from app.engines.compile import compiled
from app.engines.weights import Weights, locate
from app.mobilenet.variants import Variant
from tests.support import needs

VARIANT = Variant(0.25, 64)
CLASSES = 12
FORMS = ("network.h5", "legacy.weights.h5", "network.keras", "network.weights.h5")


def settings(variant: Variant = VARIANT, **values: object) -> Settings:
    """Return settings for the small variant of these tests."""
    given = {name: str(value) for name, value in values.items()}
    return Settings(alpha=variant.alpha, resolution=variant.resolution, **given)  # type: ignore[arg-type]


class Saved(NamedTuple):
    """A Keras network and the folder that has it in each of `FORMS`."""

    network: Any
    folder: Path


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Saved:
    needs.TENSORFLOW.check()
    from keras.src.legacy.saving import legacy_h5_format

    from tests.support.networks import lively

    folder = tmp_path_factory.mktemp("weights")
    network = lively(VARIANT.alpha, VARIANT.resolution, CLASSES)
    network.save(folder / "network.keras")
    network.save_weights(folder / "network.weights.h5")
    import h5py

    # Keras writes the layout of the published files only as part of a whole model; here it stands alone as there.
    legacy_h5_format.save_model_to_hdf5(network, str(folder / "network.h5"))
    with h5py.File(folder / "legacy.weights.h5", "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, network)
    return Saved(network, folder)


@pytest.fixture(scope="session")
def weights(saved: Saved) -> Weights:
    return locate(settings(weights=saved.folder / "network.weights.h5"))


@pytest.fixture(scope="session")
def model_path(weights: Weights, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled(weights, VARIANT, tmp_path_factory.mktemp("cache")).path
