"""What the card of trained weights says, and the pictures beside it."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app.measurements import Score
from app.model.familiarity import FEWEST
from app.training.card import Card, draw_confusion, draw_mistakes, no_familiarity
from app.training.fonts import drawable
from tests.training.test_state import RECIPE, row

SCORE = Score(
    weights="own",
    weights_sha256="0" * 64,
    alpha=0.5,
    resolution=160,
    precision="float32",
    data="val",
    images=200,
    top1=0.88,
    top5=1,
    calibration_error=0.063,
)
CARD = Card(
    name="own",
    created="2026-11-29",
    alpha=0.5,
    resolution=160,
    classes={"cat": 40, "big | small": 20},
    photos="photos",
    learnt=41,
    held_out=19,
    validated=0,
    remarks=("notes.txt is no image that can be read, and left out",),
    recipe=RECIPE,
    machine="a machine",
    seconds=12.3,
    temperature=0.9,
    best_epoch=1,
    epochs=[row(0), row(1)],
    scores=[SCORE],
)


def test_the_card_says_how_good_the_weights_are_and_on_what_that_was_measured() -> None:
    text = CARD.text()
    assert "right on 176 of 200 held-out photos" in text
    assert "it is right on 83% to 92% of other photos like these" in text
    assert "the 19 photos held out, decoded and classified as the service does it. The same photos chose" in text
    assert "| big / small | 20 |" in text
    assert "- notes.txt is no image" in text
    given = CARD.model_copy(update={"validated": 200, "recipe": RECIPE.model_copy(update={"validation": "val"})})
    assert "the 200 photos of `val`, which chose nothing" in given.text()
    assert "right on 176 of 200 validation photos" in given.text()


@pytest.mark.parametrize(
    ("best", "held_out", "says"),
    [
        (1, FEWEST, ""),
        (1, FEWEST - 1, "since only 18 photos are held out, and at least 19 are needed"),
        (0, FEWEST, "since the features of the best weights were learnt on other photos"),
    ],
)
def test_familiarity_is_known_of_features_that_were_learnt_here_and_of_enough_photos(
    best: int, held_out: int, says: str
) -> None:
    card = CARD.model_copy(update={"best_epoch": best, "held_out": held_out})
    assert says in no_familiarity(best, held_out)
    assert bool(no_familiarity(best, held_out)) == bool(says)
    assert ("with which familiarity compares new photos" in card.text()) == (not says)


def test_a_card_has_a_top_5_only_of_more_than_five_classes() -> None:
    assert "| 160 | float32 | 88.0% | 6.3% |" in CARD.text()
    many = CARD.model_copy(update={"classes": dict.fromkeys("abcdef", 10)})
    assert "| 160 | float32 | 88.0% | 100.0% | 6.3% |" in many.text()


def test_that_all_of_few_photos_are_right_is_not_certainty() -> None:
    few = SCORE.model_copy(update={"images": 6, "top1": 1.0})
    assert "right on 61% to 100% of other photos" in CARD.model_copy(update={"scores": [few]}).text()


def test_the_card_of_a_classifier_that_was_trained_alone_says_nothing_of_epochs_mirrors_and_familiarity() -> None:
    assert all(said in CARD.text() for said in ("| mirror | True |", "| best epoch | 1 |", "familiarity"))
    alone = CARD.model_copy(update={"recipe": RECIPE.model_copy(update={"head_only": True}), "best_epoch": 0}).text()
    assert "The same photos chose the classifier" in alone
    assert [said for said in ("epoch", "mirror", "familiarity") if said in alone] == []


def test_an_epoch_before_the_first_is_named_by_what_it_is() -> None:
    assert "| best epoch | 0 (the classifier alone) |" in CARD.model_copy(update={"best_epoch": 0}).text()


def test_the_card_says_how_well_other_things_are_told_apart_if_that_was_measured() -> None:
    assert "What it does not know" not in CARD.text()
    measured = CARD.model_copy(update={"unfamiliar_photos": "others", "auroc": {"α 0.5 @ 160, float32": 0.9123}})
    assert "| α 0.5 @ 160, float32 | 0.912 |" in measured.text()


@pytest.mark.parametrize("mistakes", [0, 1, 12])
def test_the_pictures_are_drawn_however_few_mistakes_there_are(mistakes: int, tmp_path: Path) -> None:
    draw_confusion(np.array([[1, 1], [0, 0]]), ["cat", "dog"], tmp_path / "confusion.png", "own")
    draw_mistakes(np.zeros((mistakes, 32, 32, 3), np.uint8), ["cat"] * mistakes, tmp_path / "mistakes.png")
    pictures = sorted(tmp_path.iterdir())
    assert [path.name for path in pictures] == ["confusion.png", "mistakes.png"]
    for path in pictures:
        assert path.read_bytes().startswith(b"\x89PNG")


def test_the_confusion_of_many_classes_is_a_picture_that_can_be_opened(tmp_path: Path) -> None:
    path = tmp_path / "confusion.png"
    for classes in (41, 150, 1500):
        draw_confusion(np.eye(classes, dtype=np.int64), [f"class {one}" for one in range(classes)], path)
        with Image.open(path) as picture:
            assert max(picture.size) < 2500


IN_ANOTHER_FONT, IN_NONE = "\N{MATHEMATICAL SCRIPT CAPITAL A}", "\U0010fffd"
"""Signs that the usual font of matplotlib lacks: one that is in another that it brings, and one for private use."""


@pytest.mark.parametrize("names", [("$_$", "$5 # $10"), (IN_ANOTHER_FONT, "cat"), ("cat", IN_NONE)], ids=ascii)
def test_any_name_of_a_class_is_drawn_and_without_a_warning(names: tuple[str, str], tmp_path: Path) -> None:
    shown = drawable(names)  # a warning would be an error here
    draw_confusion(np.eye(2, dtype=np.int64), shown, tmp_path / "confusion.png", " ".join(shown))
    draw_mistakes(
        np.zeros((2, 32, 32, 3), np.uint8), [f"{name}\nanswered" for name in shown], tmp_path / "mistakes.png"
    )
    assert len(list(tmp_path.iterdir())) == 2


def test_a_name_that_no_font_can_show_is_replaced_by_the_number_of_its_class() -> None:
    assert drawable(["$_$", IN_ANOTHER_FONT, f"the {IN_NONE}"]) == ["$_$", IN_ANOTHER_FONT, "class 2"]
