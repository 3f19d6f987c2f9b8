"""What is kept of the energies of photos, and the figures of how well they tell photos apart."""

from dataclasses import replace

import numpy as np
import pytest

from app.config import MODEL_WEIGHTS
from app.engines.bundle import BUNDLED
from app.mobilenet.variants import RESOLUTIONS, Variant
from app.model import familiarity
from tests.support.data import SHARED
from tests.support.fakes import COLOURS, colour_model
from tests.support.needs import REFERENCE_DATA
from tools.weights.familiarity import (
    NOTHING,
    Energies,
    Measured,
    energies,
    measured,
    nothing,
    nothing_table,
    photos,
    tables,
)

FOUND: Energies = {
    "held out": np.linspace(0, 1, 101, dtype=np.float32),
    "validation": np.array([0.01, 0.5, 0.9, 1.5], np.float32),
    "ImageNet": np.array([0.04, 0.6], np.float32),
    "hands": np.array([-2, -1, 0.02, 0.03], np.float32),
    "noise": np.array([0.01, 0.5, 0.6, 0.7], np.float32),
}


def test_the_figures_are_those_of_the_photos_that_were_not_used_for_the_thresholds() -> None:
    known, figures = measured(colour_model(), FOUND)
    assert (known.images, known.alpha, known.resolution, known.precision) == (101, 0.25, 64, "float32")
    assert known.energies == pytest.approx((1.02 * np.linspace(0, 1, 101) - 0.01).clip(0, 1), abs=1e-4)
    assert figures == {
        "ImageNet: AUROC": 100 * 5 / 8,
        "hands: AUROC": 100 * 14 / 16,
        "validation: unfamiliar": 25,
        "ImageNet: unfamiliar": 50,
        "hands: unfamiliar": 100,
        "noise: unfamiliar": 25,
    }


def test_a_table_has_a_row_a_model_and_a_column_a_resolution() -> None:
    small, large = (replace(colour_model(), variant=Variant(0.25, side)) for side in (64, 96))
    found = [
        Measured(measured(model, FOUND).familiarity, {"hands": of, "noise: unfamiliar": 3})
        for model, of in ((large, 2), (small, 1.26))
    ]
    assert list(tables(found)) == [
        "hands, %\n",
        "| α | precision | 64 | 96 |",
        "| --- | --- | ---: | ---: |",
        "| 0.25 | float32 | 1.3 | 2.0 |",
        "",
    ]


def test_images_of_nothing_have_a_table_of_their_own() -> None:
    known = measured(colour_model(), FOUND).familiarity
    figures = {f"{kind}: unfamiliar": 10.4 * number for number, kind in enumerate(NOTHING)}
    int8 = Measured(known.model_copy(update={"precision": "int8"}), figures)
    assert list(nothing_table([Measured(known, figures), int8])) == [
        "| α | plain colours | noise | shapes | gradients | stripes |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
        "| 0.25 @ 64 | 0 | 10 | 21 | 31 | 42 |",
    ]


def test_images_of_nothing_are_the_same_each_time_and_differ_from_one_another() -> None:
    images = nothing(3)
    assert images == nothing(3)
    assert list(images) == list(NOTHING)
    assert len({image for of in images.values() for image in of}) == 3 * len(NOTHING)


def test_the_energies_are_those_that_the_engine_gives_in_batches() -> None:
    model, colours = colour_model(), list(COLOURS.values()) * 10
    pixels = [np.full((64, 64, 3), colour, np.uint8) for colour in colours]
    np.testing.assert_array_equal(energies(model, pixels), model.engine.predict(pixels).energies)


def test_every_bundled_model_has_thresholds_of_its_own() -> None:
    found = familiarity.read(MODEL_WEIGHTS)
    models = {(one.alpha, one.resolution, one.precision) for one in found}
    assert models == {(a, r, p) for a in BUNDLED.alphas for r in RESOLUTIONS for p in ("float32", "int8")}
    assert len({one.energies for one in found}) == len(found) == len(models)
    assert {one.images for one in found} == {473}


@REFERENCE_DATA.mark()
def test_photos_of_the_classes_are_not_among_the_others() -> None:
    found = photos(SHARED)
    assert [len(found[kind]) for kind in ("held out", "validation", "hands")] == [473, 2000, 200]
    assert 90 <= len(found["ImageNet"]) <= 100
    assert not [path for path in found["ImageNet"] if path.name.split("_")[0] in {"n01440764", "n03888257"}]
