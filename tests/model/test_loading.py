"""What is loaded of a model: what its classes are called, and not what few ask for."""

from pathlib import Path

import pytest

from app.config import Settings
from app.engines.weights import Weights
from app.errors import StartError
from app.model import loading


@pytest.mark.parametrize("count", [1, 2, 4])
def test_there_are_as_many_labels_as_classes(count: int, tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_text("\n".join(f"class {index}" for index in range(count)))
    with pytest.raises(StartError, match=rf"^there are {count} labels, but own\.h5 has 3 classes$"):
        loading._load_labels(Weights("own.h5", path, ""), Settings(labels=path), 3)


def test_weights_of_a_thousand_classes_have_the_labels_of_imagenet_and_others_need_a_file() -> None:
    own = Weights("own.h5", Path("own.h5"), "")
    assert len(loading._load_labels(own, Settings(), 1000)) == 1000
    with pytest.raises(StartError, match=r"^own\.h5 has 7 classes; set MOBILENET_LABELS to a file with their labels$"):
        loading._load_labels(own, Settings(), 7)


def test_the_classifier_is_not_read_from_the_model_before_somebody_asks_what_speaks_for_a_class() -> None:
    loaded = loading.load(Settings(precision="int8"))
    assert loaded.channels == 512
    assert "head" not in vars(loaded.engine)
