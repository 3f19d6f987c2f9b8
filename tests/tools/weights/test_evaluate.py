"""The figures of the model card are what they claim to be."""

from pathlib import Path

import numpy as np
import pytest
import typer

from app.errors import StartError
from app.model import scores
from app.model.scores import calibration_error
from tests.support.data import solid
from tools.weights import evaluate
from tools.weights.evaluate import Best, Class, LabelledPhoto, Subject, confusion, find_photos

CLASSES = [Class("n01", "red"), Class("n02", "green"), Class(None, "blue")]
PHOTOS = [
    LabelledPhoto(Path("a"), 0),
    LabelledPhoto(Path("b"), 0),
    LabelledPhoto(Path("c"), 1),
    LabelledPhoto(Path("d"), 2),
]
ANSWERS: list[Best] = [[(0, 0.9), (1, 0.1)], [(1, 0.6), (0, 0.4)], [(2, 0.5), (0, 0.5)], []]
SUBJECT = Subject("own", "0" * 64, 0.5, 160, "int8", CLASSES, lambda _: ANSWERS)


def test_top_1_and_top_5_count_right_answers_and_no_answer_is_a_wrong_one() -> None:
    score = evaluate.score(SUBJECT, PHOTOS, ANSWERS, "four photos")
    assert (score.images, score.top1, score.top5) == (4, 0.25, 0.5)
    assert score.calibration_error == pytest.approx((0.1 + 0.6 + 0.5) / 3), "of the photos that were answered"
    assert (score.key, score.data) == (("own", 0.5, 160, "int8"), "four photos")


def test_the_calibration_error_is_the_mean_gap_between_probability_and_being_right() -> None:
    assert calibration_error([(1.0, True), (1.0, True)]) == 0
    assert calibration_error([(0.8, True), (0.8, False)]) == pytest.approx(0.3)
    # Over and under in one bin cancel, in two bins they add up.
    assert calibration_error([(0.8, True)] * 4 + [(0.8, False)]) == pytest.approx(0)
    assert calibration_error([(0.9, False), (0.1, True)]) == pytest.approx(0.9)
    assert calibration_error([]) == 0


def test_the_confusion_matrix_has_a_row_for_each_class_of_photos() -> None:
    np.testing.assert_array_equal(confusion(PHOTOS, ANSWERS, 3), [[1, 1, 0], [0, 0, 1], [0, 0, 0]])


def test_saved_scores_take_the_place_of_those_of_the_same_model(tmp_path: Path) -> None:
    old = evaluate.score(SUBJECT, PHOTOS, ANSWERS, "old")
    other = evaluate.score(SUBJECT._replace(resolution=128), PHOTOS, ANSWERS, "other")
    new = evaluate.score(SUBJECT, PHOTOS, ANSWERS, "new")
    evaluate.save(tmp_path, [old, other])
    evaluate.save(tmp_path, [new])
    assert scores.read(tmp_path) == (other, new)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("n01", "green", "blue"):
        for number in range(2):
            path = tmp_path / name / f"{number}.png"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(solid((number * 200, 0, 0)))
    return tmp_path


def test_folders_are_known_by_wordnet_id_or_label(folder: Path) -> None:
    assert [photo.truth for photo in find_photos(folder, CLASSES)] == [2, 2, 1, 1, 0, 0]
    (folder / "purple").mkdir()
    with pytest.raises(StartError, match="purple is not a class of the model"):
        find_photos(folder, CLASSES)
    with pytest.raises(StartError, match="no folders of photos"):
        find_photos(folder / "n01", CLASSES)


def test_the_picture_of_one_model_is_not_drawn_over_by_others(folder: Path) -> None:
    with pytest.raises(typer.BadParameter, match="--confusion goes without --all"):
        evaluate.main(folder, every=True, picture=Path("confusion.png"))
