"""`mobilenet train`: what it refuses before it trains, and what it makes of an interruption."""

from pathlib import Path

import pytest

from app.cli.train import Order, train
from app.engines.tflite.converter import QUIET
from app.errors import StartError
from app.training.state import State
from tests.support import needs
from tests.training.test_state import RECIPE, Memory
from tests.training.test_survey import album


def order(photos: Path, output: str = "own", validation: str = "", *, resume: bool = False) -> Order:
    recipe = RECIPE.model_copy(update={"validation": validation})
    return Order(photos, photos.parent / output, recipe, unfamiliar=None, resume=resume)


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, value in QUIET.items():
        monkeypatch.setenv(name, value)  # as a training does, but for this test alone
    return album(tmp_path / "photos", cat=4, dog=4)


def test_a_folder_to_validate_with_that_has_no_photo_is_refused_before_the_training(photos: Path) -> None:
    validation = photos.with_name("val")
    for name in ("cat", "dog"):
        (validation / name).mkdir(parents=True)
    (validation / "dog" / "notes.txt").write_text("no photo")
    with pytest.raises(StartError, match=rf"^--validation {validation}: there is no photo [^\n]+\n\S+notes\.txt is no"):
        train(order(photos, validation=str(validation)))
    assert sorted(path.name for path in photos.parent.iterdir()) == ["photos", "val"]


@pytest.mark.parametrize(
    ("output", "says"),
    [("photos/own", "is among the photos"), ("taken", "there is something else already")],
)
def test_a_folder_that_may_not_be_written_is_refused_before_the_photos_are_looked_at(
    output: str, says: str, photos: Path
) -> None:
    (photos / "cat" / "0.png").write_bytes(b"no photo, so that the class has three")
    photos.with_name("taken").write_text("mine")
    with pytest.raises(StartError, match=says):
        train(order(photos, output))


@needs.TENSORFLOW.mark()
@pytest.mark.tensorflow
@pytest.mark.parametrize("resume", [False, True])
def test_photos_in_the_folder_where_a_training_would_be_kept_stay(resume: bool, photos: Path) -> None:
    photos = photos.rename(photos.with_name("own.training"))
    with pytest.raises(StartError, match=rf"^{photos} is where the training would be kept"):
        train(order(photos, resume=resume))
    assert len(list(photos.glob("*/*.png"))) == 8


@needs.TENSORFLOW.mark()
@pytest.mark.tensorflow
def test_an_interruption_before_there_is_anything_to_write_is_one(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from app.training import fit, network

    def interrupted(task: object, state: State, *_: object) -> None:
        state.keep(Memory().save)
        raise KeyboardInterrupt

    monkeypatch.setattr(network, "prepare", lambda seed: None)  # of the process, in which there are other tests
    monkeypatch.setattr(fit, "begin", lambda *_: None)
    monkeypatch.setattr(fit, "fit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(order(photos))


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("cats & dogs-weights", "cats---dogs"),
        ("imagenet-weights", "own-imagenet"),
        ("imagenette", "own-imagenette"),
        ("-weights", "own"),
    ],
)
def test_weights_have_the_name_of_their_folder_and_never_that_of_other_weights(folder: str, name: str) -> None:
    assert order(Path("photos"), folder).name == name
