"""What is said to be measured was measured, on the very weights that are bundled."""

from typing import get_args

import pytest

from app.config import MODEL_WEIGHTS
from app.engines.bundle import BUNDLED
from app.engines.files import entries
from app.measurements import Score
from app.mobilenet.variants import RESOLUTIONS, Precision, Variant
from app.model import scores

SCORES = scores.read()
WEIGHTS = BUNDLED.alphas
PRECISIONS: tuple[Precision, ...] = get_args(Precision)


def test_every_bundled_variant_is_measured_in_every_precision_and_nothing_else_is() -> None:
    expected = {
        ("imagenette", alpha, resolution, precision)
        for alpha in WEIGHTS
        for resolution in RESOLUTIONS
        for precision in PRECISIONS
    }
    assert {score.key for score in SCORES} == expected
    assert len(SCORES) == len(expected)


def test_the_scores_are_of_the_weights_that_are_bundled() -> None:
    manifest = entries(MODEL_WEIGHTS)
    for score in SCORES:
        assert score.weights_sha256 == manifest[BUNDLED.weights(score.alpha).name]["sha256"]
        assert score.images == 2000


@pytest.mark.parametrize("alpha", WEIGHTS)
@pytest.mark.parametrize("resolution", RESOLUTIONS)
@pytest.mark.parametrize(("precision", "most"), [("int8", 0.015), ("bfloat16", 0.005)])
def test_fewer_bits_lose_little(alpha: float, resolution: int, precision: Precision, most: float) -> None:
    variant = Variant(alpha, resolution)
    full, other = (scores.find(SCORES, variant, one) for one in ("float32", precision))
    assert full
    assert other
    assert full.top1 - other.top1 <= most


@pytest.mark.parametrize("score", SCORES, ids=lambda score: f"{score.alpha:g}-{score.resolution}-{score.precision}")
def test_the_probability_of_an_answer_is_how_often_it_is_right(score: Score) -> None:
    assert score.calibration_error <= 0.035


def test_what_nobody_measured_has_no_score() -> None:
    assert scores.find(SCORES, Variant(0.5, 96), "float32") is None
    assert scores.find((), Variant(0.5, 160), "float32") is None
