"""What a training keeps to go on from, and when it refuses to."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO, Any, BinaryIO

import pytest

from app.errors import CannotWrite, StartError
from app.training.recipe import Recipe
from app.training.state import Row, State
from tests.support.data import REPOSITORY

RECIPE = Recipe(
    alpha=0.5, resolution=160, start="imagenette", epochs=3, head_only=False, mirror=True, validation="", seed=0
)

PHOTOS = {"photos": "digest"}


class Memory:
    """A learner whose weights are a text."""

    text = "new"

    def learn(self, number: int, rate: float, *batch: Any) -> tuple[Any, Any]:
        """Not used."""
        raise NotImplementedError

    def probabilities(self, pixels: Any) -> Any:
        """Not used."""
        raise NotImplementedError

    def write(self, file: BinaryIO, epochs: int) -> None:
        """Write how many epochs are done, and the text."""
        file.write(f"{epochs} {self.text}".encode())

    def read(self, file: BinaryIO) -> int:
        """Read them."""
        epochs, self.text = file.read().decode().split()
        return int(epochs)

    def save(self, path: Path) -> None:
        """Write the text alone."""
        path.write_text(self.text)


def row(epoch: int) -> Row:
    return {"epoch": epoch, "loss": 1.0 / (epoch + 1), "accuracy": 0.5}


def test_a_training_goes_on_where_it_was_left_and_the_best_weights_stay(tmp_path: Path) -> None:
    state, learner = State(tmp_path / "own.training"), Memory()
    assert not state.begin(RECIPE, PHOTOS, resume=False)
    learner.text = "first"
    state.save(learner, [row(0)], best=True)
    learner.text = "second"
    state.save(learner, [row(0), row(1)], best=False)
    assert state.begin(RECIPE, PHOTOS, resume=True)
    found = Memory()
    assert state.restore(found) == state.rows() == [row(0), row(1)]
    assert (found.text, state.best.read_text()) == ("second", "first")


def test_without_the_wish_to_go_on_it_begins_anew(tmp_path: Path) -> None:
    state, learner = State(tmp_path), Memory()
    state.begin(RECIPE, PHOTOS, resume=False)
    state.save(learner, [row(0)], best=True)
    assert not state.begin(RECIPE, PHOTOS, resume=False)
    assert (state.rows(), state.best.exists()) == ([], False)
    assert not state.begin(RECIPE, PHOTOS, resume=True)


def test_a_second_training_of_the_same_folder_is_refused_until_the_first_has_ended(tmp_path: Path) -> None:
    state = State(tmp_path / "new" / "own.training")
    with state.alone():
        state.begin(RECIPE, PHOTOS, resume=False)
        state.remove()
        with pytest.raises(StartError) as refused, State(state.folder).alone():
            pytest.fail("both are running")
        with State(tmp_path / "new" / "other.training").alone():
            pass
        with pytest.raises(StartError), State(state.folder).alone():
            pytest.fail("the refusal has freed the folder")
    assert str(refused.value) == (
        f"a training for this --output is running already, in {state.folder}; wait until it has ended, or choose "
        "another --output"
    )
    with state.alone():
        pass
    assert list(state.folder.parent.iterdir()) == []


KILLED = """
import os, signal, sys
from pathlib import Path
from app.training.state import State

with State(Path(sys.argv[1])).alone():
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_training_that_was_killed_keeps_nobody_out(tmp_path: Path) -> None:
    state = State(tmp_path / "own.training")
    killed = subprocess.run([sys.executable, "-c", KILLED, state.folder], cwd=REPOSITORY, check=False)
    assert killed.returncode == -signal.SIGKILL
    with state.alone(), pytest.raises(StartError), state.alone():
        pytest.fail("both are running")
    assert list(tmp_path.iterdir()) == []


def test_a_training_that_ends_while_another_begins_lets_in_only_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state, real = State(tmp_path / "own.training"), fcntl.flock
    first = state.alone()
    first.__enter__()

    def flock(file: IO[bytes], operation: int) -> None:
        first.__exit__(None, None, None)
        real(file, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(StartError, match="is running already"), state.alone():
        pytest.fail("what is locked is a file that is gone, and the next training would have another")


def no_lock(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have every attempt to lock a file fail with this error of the system."""

    def flock(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.EBADF])
def test_where_nothing_can_be_locked_a_training_runs_all_the_same(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_lock(number, monkeypatch)
    with State(tmp_path / "own.training").alone(), State(tmp_path / "own.training").alone():
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [errno.EWOULDBLOCK, errno.EACCES])
def test_a_lock_that_somebody_has_keeps_a_training_out_whatever_the_file_system_calls_it(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_lock(number, monkeypatch)
    with pytest.raises(StartError, match="is running already"), State(tmp_path / "own.training").alone():
        pytest.fail("it runs")


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    state = State(tmp_path / "file" / "own.training")
    with pytest.raises(CannotWrite, match=rf"^{tmp_path / 'file'}: cannot write there: .+$"), state.alone():
        pytest.fail("it runs")


def test_the_seconds_of_a_training_are_known_to_whoever_goes_on_with_it(tmp_path: Path) -> None:
    state = State(tmp_path / "own.training")
    assert state.spent_s == 0
    state.save(Memory(), [row(0), row(1)], best=True)
    assert state.spent_s == 0, "of a training that an older version began"
    state.save(Memory(), [row(0) | {"seconds": 20.5}, row(1) | {"seconds": 61.0}], best=True)
    assert state.spent_s == 61


class FullDisk(Memory):
    """A learner that finds no room for its checkpoint."""

    def write(self, file: BinaryIO, epochs: int) -> None:
        """Fail."""
        raise OSError(28, "No space left on device")


def test_a_training_without_a_checkpoint_is_none_to_go_on_with(tmp_path: Path) -> None:
    state = State(tmp_path / "own.training")
    state.begin(RECIPE, PHOTOS, resume=False)
    with pytest.raises(StartError, match=r"^\S+/own\.training: cannot write there: No space left on device$"):
        state.save(FullDisk(), [row(0)], best=True)
    assert state.rows() == [row(0)], "the best weights are there, and said to be"
    assert not state.begin(RECIPE, PHOTOS, resume=True)


def test_an_epoch_without_a_checkpoint_is_learnt_again_and_none_is_learnt_twice(tmp_path: Path) -> None:
    state = State(tmp_path / "own.training")
    state.begin(RECIPE, PHOTOS, resume=False)
    state.save(Memory(), [row(0)], best=True)
    with pytest.raises(StartError, match="No space left"):
        state.save(FullDisk(), [row(0), row(1)], best=True)
    assert state.begin(RECIPE, PHOTOS, resume=True)
    assert state.restore(Memory()) == [row(0)]
    (state.folder / "epochs.json").write_text("[]")
    with pytest.raises(StartError, match=r"its epochs\.json has 0 of 1 epochs; begin anew"):
        state.restore(Memory())


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("name", ["cat/0.jpg", "recipe.json", ".git/config"])
def test_what_is_no_training_is_never_removed(name: str, resume: bool, tmp_path: Path) -> None:
    own = tmp_path / name
    own.parent.mkdir(exist_ok=True)
    own.write_text('{"serves": 4}')
    with pytest.raises(StartError, match=rf"^{tmp_path} is where .*; move that away, or choose another --output$"):
        State(tmp_path).begin(RECIPE, PHOTOS, resume)
    assert own.read_text() == '{"serves": 4}'


@pytest.mark.parametrize(
    ("recipe", "digests", "reason"),
    [
        (RECIPE, {"photos": "others"}, "had other photos$"),
        (RECIPE, PHOTOS | {"weights to start from": "others"}, "had other weights to start from$"),
        (RECIPE.model_copy(update={"alpha": 0.25}), PHOTOS, "had alpha 0.5, and not 0.25$"),
        (RECIPE.model_copy(update={"mirror": False}), PHOTOS, "had mirror True, and not False$"),
    ],
)
def test_another_recipe_other_photos_or_other_weights_to_start_from_cannot_be_gone_on_with(
    recipe: Recipe, digests: dict[str, str], reason: str, tmp_path: Path
) -> None:
    state = State(tmp_path)
    state.begin(RECIPE, PHOTOS, resume=False)
    with pytest.raises(StartError, match=reason):
        state.begin(recipe, digests, resume=True)


OTHER = Recipe(
    alpha=0.75, resolution=128, start="random", epochs=4, head_only=True, mirror=False, validation="apart", seed=1
)


@pytest.mark.parametrize("name", Recipe.model_fields)
def test_whatever_differs_in_a_recipe_it_is_another_one(name: str, tmp_path: Path) -> None:
    state, other = State(tmp_path), getattr(OTHER, name)
    state.begin(RECIPE, PHOTOS, resume=False)
    with pytest.raises(StartError, match=rf"had {name} {getattr(RECIPE, name)}, and not {other}$"):
        state.begin(RECIPE.model_copy(update={name: other}), PHOTOS, resume=True)


def test_the_resolution_asked_for_has_half_of_the_batches_and_all_four_have_some() -> None:
    schedule = RECIPE.schedule(1000)
    shares = schedule.shares(0)
    assert shares[160] == 0.5
    assert set(shares) == {128, 160, 192, 224}
    assert sum(shares.values()) == pytest.approx(1)
    assert (schedule.steps * schedule.batch <= 1000, schedule.steps >= 20) == (True, True)
    assert RECIPE.schedule(6).batch == 6
