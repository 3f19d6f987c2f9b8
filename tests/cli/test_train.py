"""`mobilenet train`: what it refuses before it trains, and what it makes of an interruption."""

import signal
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from app.cli.train import (
    MAX_PIXELS,
    SHARE_BESIDE_VALIDATION,
    Bar,
    Order,
    _begun,
    _ended,
    _stopping,
    _train,
    _validation,
    train,
)
from app.engines.tflite.converter import QUIET
from app.errors import StartError
from app.training.recipe import RANDOM
from app.training.state import Row, State
from app.training.views import Views
from tests.support import needs
from tests.support.fakes import Clock
from tests.training.test_output import trained, weights
from tests.training.test_state import RECIPE, Memory, row
from tests.training.test_survey import album, look


def order(
    photos: Path, output: str = "own", validation: str = "", *, begin: str = RANDOM, resume: bool = False
) -> Order:
    recipe = RECIPE.model_copy(update={"validation": validation, "start": begin})
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


def test_a_folder_to_validate_with_may_have_a_number_as_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StartError, match=r"^--validation 2024: a share is between 0 and 1"):
        _validation("2024")
    (tmp_path / "2024").mkdir()
    assert _validation("2024") == (Path("2024"), SHARE_BESIDE_VALIDATION)


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


def test_weights_to_start_from_that_are_not_there_are_refused_before_anything_else(photos: Path) -> None:
    (photos / "cat" / "0.png").write_bytes(b"no photo, so that the class has three")
    interrupted = State(photos.with_name("own.training"))
    interrupted.begin(RECIPE, {}, resume=False)
    interrupted.save(Memory(), [row(0)], best=True)
    with pytest.raises(StartError, match=r"^--from nowhere\.h5: no such file; allowed are imagenette, "):
        train(order(photos, begin="nowhere.h5"))
    assert interrupted.best.exists()


@pytest.mark.parametrize(
    ("unfamiliar", "validation", "says"),
    [
        (Path("nix"), "", "^--unfamiliar nix: there is no such folder$"),
        (None, "nix", "^--validation nix: there is no such folder; a share is a number between 0 and 1, "),
    ],
)
def test_a_folder_that_is_not_there_is_refused_before_any_photo_is_looked_at(
    unfamiliar: Path | None, validation: str, says: str, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.cli.train.survey", lambda *_: pytest.fail("the photos were looked at"))
    asked = replace(order(photos, validation=validation), unfamiliar=unfamiliar)
    with pytest.raises(StartError, match=says):
        train(asked)


@pytest.mark.parametrize("resume", [False, True])
def test_while_a_training_runs_another_with_its_output_is_refused_before_the_photos_are_looked_at(
    resume: bool, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = State(photos.with_name("own.training"))
    running.begin(RECIPE, {}, resume=False)
    running.save(Memory(), [row(0)], best=True)
    monkeypatch.setattr("app.cli.train.survey", lambda *_: pytest.fail("the photos were looked at"))
    with running.alone(), pytest.raises(StartError, match=rf"^a training for this .*, in {running.folder}; wait until"):
        train(order(photos, resume=resume))
    assert running.rows() == [row(0)]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "No such file or directory"),
        (b"", "the image is empty"),
        (b"\x89PNG\r\n\x1a\n", "the PNG image is truncated"),
    ],
    ids=["gone", "empty", "damaged"],
)
def test_a_photo_that_cannot_be_read_any_more_ends_a_training_with_its_name_and_what_goes_on(
    content: bytes | None, why: str, photos: Path
) -> None:
    found = look(photos)
    path = found.photos[3].path
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    views = Views(found.photos, 0, False, MAX_PIXELS)
    for views_of in (views.plain, partial(views.varied, time=0)):
        with pytest.raises(StartError) as stopped, _stopping():
            views_of([2, 3], 96)
        (line,) = str(stopped.value).splitlines()
        assert line.startswith("the training was stopped: ")
        assert str(path) in line
        assert why in line
        assert line.endswith("; mend that, and the same command goes on with --resume")


def test_while_tensorflow_is_loaded_the_bar_says_so(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "app.training.network", None)
    monkeypatch.delattr("app.training.network", raising=False)
    bar = Bar()
    with pytest.raises(StartError, match=r"^training needs TensorFlow"):
        _train(order(photos), bar, 0.0)
    (part,) = bar.progress.tasks
    assert (part.description, part.finished) == ("loading TensorFlow", False)


@pytest.mark.parametrize("older", [False, True])
def test_an_interruption_leaves_finished_weights_as_they_are_and_says_where_the_best_so_far_is(
    older: bool, photos: Path
) -> None:
    asked = order(photos)
    state = trained(asked.target)
    if older:
        weights(asked.target, '"older"')
    said: list[str] = []
    assert _ended(asked, state, interrupted=True, say=said.append) == 128 + signal.SIGINT
    best = state.result if older else asked.target
    assert (best / "card.json").read_text() == '"new"'
    if older:
        assert (asked.target / "card.json").read_text() == '"older"'
    assert said[0].endswith(f" --weights {best}")
    assert said[1].startswith(f"interrupted: the best so far is in {best}")
    assert said[1].endswith("; the same command with --resume goes on")
    assert state.folder.exists()


def test_resuming_where_there_is_nothing_to_go_on_with_is_said(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bar, said = Bar(), list[str]()
    monkeypatch.setattr(bar, "say", said.append)
    asked, found = order(photos, resume=True), look(photos)
    state, resumed = _begun(asked, found, "", bar)
    assert not resumed
    assert said == [f"--resume: there is nothing in {state.folder} to go on with, so a new training begins"]
    state.save(Memory(), [row(0)], best=True)
    assert _begun(asked, found, "", bar) == (state, True)
    assert len(said) == 1


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

    def interrupted(task: object, state: State, *_: object, began: float) -> None:
        state.keep(Memory().save)
        raise KeyboardInterrupt

    monkeypatch.setattr(network, "prepare", lambda seed: None)  # of the process, in which there are other tests
    monkeypatch.setattr(fit, "begin", lambda *_: None)
    monkeypatch.setattr(fit, "fit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(order(photos))


@needs.TENSORFLOW.mark()
@pytest.mark.tensorflow
def test_a_full_disk_ends_a_training_with_what_goes_on_with_it(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from app.training import fit, network

    def full(path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(network, "prepare", lambda seed: None)
    monkeypatch.setattr(fit, "begin", lambda *_: None)
    monkeypatch.setattr(fit, "fit", lambda task, state, *_, began: state.keep(full))
    with pytest.raises(StartError, match=r"^the training was stopped: .*: No space left on device; .* with --resume$"):
        train(order(photos))


@needs.TENSORFLOW.mark()
@pytest.mark.tensorflow
def test_a_training_that_goes_on_has_taken_the_seconds_before_its_interruption_too(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from app.training import fit, network, result

    asked, clock, rows = order(photos, resume=True), Clock(), [row(0) | {"seconds": 500.0}]
    bar, said = Bar(), list[str]()
    monkeypatch.setattr(bar, "say", said.append)
    state, _ = _begun(asked, look(photos), "", bar)
    state.save(Memory(), rows, best=True)

    def fitted(*_: object, began: float) -> list[Row]:
        clock.now_s += 7
        return rows

    def written(training: result.Training, *_: object) -> SimpleNamespace:
        weights(state.result)
        return SimpleNamespace(right="7 of 8 held-out photos", seconds=clock.now_s - training.began)

    monkeypatch.setattr(network, "prepare", lambda seed: None)
    monkeypatch.setattr(fit, "fit", fitted)
    monkeypatch.setattr(result, "write", written)
    assert _train(asked, bar, clock.now_s) == 0
    assert "right on 7 of 8 held-out photos; 507 s" in said


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


@pytest.mark.parametrize(
    ("photos", "output"),
    [
        ("flowers", "flowers-weights"),
        ("flowers/Training", "flowers-weights"),
        ("flowers/training_set", "flowers-weights"),
        ("flowers/seg_train/seg_train", "flowers-weights"),
        ("flowers/steam train", "steam train-weights"),
    ],
)
def test_weights_of_a_part_of_a_data_set_have_the_name_of_the_whole(photos: str, output: str) -> None:
    assert Order(Path(photos), None, RECIPE, unfamiliar=None, resume=False).target == Path(output)
