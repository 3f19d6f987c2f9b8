"""What an int8 model is calibrated on is not what it is compared on, or its report would praise it."""

from pathlib import Path

import numpy as np
import pytest

from app.engines import litert
from app.engines.tflite import convert as conversion
from app.engines.tflite.convert import ConversionReport, Photos
from app.mobilenet.variants import Precision, Variant

VARIANT = Variant(0.25, 32)


class Loaded:
    """Stands for a loaded model, which nobody asks here."""

    def __init__(self, *_: object) -> None:
        """Take what a model is loaded with."""


@pytest.fixture
def used(monkeypatch: pytest.MonkeyPatch) -> dict[str, Photos | None]:
    """Return which photos a model was calibrated on and compared on."""
    found: dict[str, Photos | None] = {}

    def convert(_: Path, __: Variant, precision: Precision, photos: Photos | None) -> bytes:
        found["calibrated"] = photos if precision == "int8" else None
        return b"model"

    def compare(_: Path, __: Variant, ___: object, images: Photos) -> ConversionReport:
        found["compared"] = images
        return ConversionReport(0, len(images), 0, 0)

    monkeypatch.setattr(conversion, "convert", convert)
    monkeypatch.setattr(conversion, "compare", compare)
    monkeypatch.setattr(litert, "LiteRTEngine", Loaded)
    return found


def run(precision: Precision, count: int, folder: Path) -> ConversionReport:
    """Convert with so many photos, each of a shade of its own."""
    photos = np.arange(count, dtype=np.uint8)[:, None, None, None] * np.ones((1, 4, 4, 3), np.uint8)
    np.save(folder / "photos.npy", photos)
    return conversion._run(Path("weights.h5"), VARIANT, precision, folder / "model", str(folder / "photos.npy"))


def shades(photos: Photos | None) -> set[int]:
    assert photos is not None
    return {int(photo.max()) for photo in photos}


@pytest.mark.parametrize(("count", "compared"), [(2, 1), (3, 1), (4, 1), (40, 10), (250, 62)])
def test_int8_is_compared_on_photos_that_it_was_not_calibrated_on(
    count: int, compared: int, used: dict[str, Photos | None], tmp_path: Path
) -> None:
    report = run("int8", count, tmp_path)
    assert not shades(used["calibrated"]) & shades(used["compared"])
    assert shades(used["calibrated"]) | shades(used["compared"]) == set(range(count))
    assert report.images == len(shades(used["compared"])) == compared
