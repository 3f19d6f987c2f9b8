"""What is known of a model that was loaded: how accurate it is."""

from dataclasses import replace

import pytest

from app.mobilenet.variants import Precision, Variant
from app.model import scores
from app.model.model import Model
from tests.support.fakes import ColourEngine, colour_model

DEFAULT = Variant(0.5, 160)


class Precise(ColourEngine):
    """The engine of colours in another precision."""

    def __init__(self, precision: Precision) -> None:
        self.precision = precision


def known(weights: str, precision: Precision = "float32", variant: Variant = DEFAULT) -> Model:
    engine, published = Precise(precision), weights == "imagenet"
    return replace(colour_model(), weights=weights, engine=engine, variant=variant, published=published)


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_the_accuracy_of_bundled_weights_is_the_one_measured_in_their_precision(precision: Precision) -> None:
    (score,) = [one for one in scores.read() if one.key == ("imagenette", 0.5, 160, precision)]
    assert replace(known("imagenette", precision), scores=scores.read()).top1 == score.top1


def test_the_accuracy_of_published_weights_is_the_one_published_as_a_share() -> None:
    assert known("imagenet").top1 == pytest.approx(0.591)
    assert known("imagenet", variant=Variant(0.25, 128)).top1 == pytest.approx(0.415)
    assert known("imagenet", variant=Variant(0.5, 96)).top1 is None


def test_what_is_published_of_float32_is_not_said_of_int8() -> None:
    assert known("imagenet", "int8").top1 is None


def test_nobody_knows_how_accurate_the_weights_of_others_are() -> None:
    assert known("own.h5").top1 is None
