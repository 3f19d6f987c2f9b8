"""What is said to be measured was measured, on the very weights that are bundled."""

import pytest

from app.config import MODEL_WEIGHTS
from app.engines.bundle import BUNDLED
from app.engines.files import entries
from app.measurements import Score
from app.mobilenet.variants import RESOLUTIONS, Precision, Variant
from app.model import scores

SCORES = scores.read()
WEIGHTS = BUNDLED.alphas
PRECISIONS: tuple[Precision, ...] = ("float32", "int8")


def test_every_bundled_variant_is_measured_in_both_precisions_and_nothing_else_is() -> None:
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
def test_int8_loses_at_most_one_and_a_half_points(alpha: float, resolution: int) -> None:
    found = [scores.find(SCORES, Variant(alpha, resolution), precision) for precision in PRECISIONS]
    full, quantised = (score.top1 for score in found if score is not None)
    assert full - quantised <= 0.015


@pytest.mark.parametrize("score", SCORES, ids=lambda score: f"{score.alpha:g}-{score.resolution}-{score.precision}")
def test_the_probability_of_an_answer_is_how_often_it_is_right(score: Score) -> None:
    assert score.calibration_error <= 0.035


def test_what_nobody_measured_has_no_score() -> None:
    assert scores.find(SCORES, Variant(0.5, 96), "float32") is None
    assert scores.find((), Variant(0.5, 160), "float32") is None
