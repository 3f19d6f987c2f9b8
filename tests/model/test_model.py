"""What is known of a model that was loaded: how accurate it is, and what its classes are called."""

from dataclasses import replace
from pathlib import Path

import pytest

from app.config import Settings
from app.engines.weights import Weights
from app.errors import StartError
from app.mobilenet.variants import Precision, Variant
from app.model import model, scores
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


def test_nobody_knows_how_accurate_the_weights_of_others_are() -> None:
    assert known("own.h5").top1 is None


@pytest.mark.parametrize("count", [1, 2, 4])
def test_there_are_as_many_labels_as_classes(count: int, tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_text("\n".join(f"class {index}" for index in range(count)))
    with pytest.raises(StartError, match=rf"^there are {count} labels, but own\.h5 has 3 classes$"):
        model._load_labels(Weights("own.h5", path, ""), Settings(labels=path), 3)


def test_weights_of_a_thousand_classes_have_the_labels_of_imagenet_and_others_need_a_file() -> None:
    own = Weights("own.h5", Path("own.h5"), "")
    assert len(model._load_labels(own, Settings(), 1000)) == 1000
    with pytest.raises(StartError, match=r"^own\.h5 has 7 classes; set MOBILENET_LABELS to a file with their labels$"):
        model._load_labels(own, Settings(), 7)
