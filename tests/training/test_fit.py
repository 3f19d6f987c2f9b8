"""The same photos and the same seed give the same weights, whether the training was interrupted or not."""

import shutil
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.engines.keras.reader import read
from app.training.holdout import hold_out
from app.training.recipe import Recipe
from app.training.state import Row, State
from app.training.task import Task
from app.training.views import Views
from tests.support import needs
from tests.training.test_survey import MAX_PIXELS, album, look

pytestmark = [pytest.mark.tensorflow, needs.TENSORFLOW.mark()]

ALPHA = 0.25
SEED = 0


class Silence:
    """A bar that shows nothing."""

    def begin(self, title: str, total: int) -> None:
        pass

    def advance(self, count: int) -> None:
        pass


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return album(tmp_path_factory.mktemp("photos"), red=8, green=8)


@pytest.fixture(autouse=True)
def undone() -> Iterator[None]:
    """Leave TensorFlow to other tests as it was."""
    yield
    import tensorflow as tf
    from tensorflow.python.framework.config import disable_op_determinism

    disable_op_determinism()
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": False})


def prepared(photos: Path, state: State, *, head_only: bool) -> Task:
    """Return what is to be trained, and prepare its folder, as a process does that was just started.

    The random numbers of such a process are others each time.
    """
    import keras

    from app.training.network import prepare

    keras.utils.set_random_seed(np.random.default_rng().integers(2**31).item())
    recipe = Recipe(
        alpha=ALPHA,
        resolution=128,
        start="imagenette",
        epochs=2,
        head_only=head_only,
        mirror=True,
        validation="",
        seed=SEED,
    )
    found = look(photos)
    learnt, held_out = hold_out(found.labels, 0.25, SEED)
    state.begin(recipe, {}, resume=True)
    prepare(SEED)
    views = Views(found.photos, SEED, recipe.mirror, MAX_PIXELS)
    return Task(recipe, len(found.classes), views, learnt, held_out)


def check_same(some: Iterable[Any], others: Iterable[Any]) -> None:
    """Check that arrays are equal to the last bit."""
    for one, other in zip(some, others, strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_same_seed_gives_the_same_weights_with_the_classifier_alone_trained(photos: Path, tmp_path: Path) -> None:
    from app.training.fit import fit_head_only

    states = [State(tmp_path / name) for name in ("first", "second")]
    rows = [fit_head_only(prepared(photos, state, head_only=True), state, Silence()) for state in states]
    assert rows[0] == rows[1]
    check_same(*(read(state.best, ALPHA) for state in states))


def gone_on_with(photos: Path, folder: Path) -> tuple[list[Any], list[Row]]:
    """Go on with an interrupted training; return what it began with, as it is made anew, and the table of epochs."""
    from app.training import fit

    state = State(folder)
    task = prepared(photos, state, head_only=False)
    begun = [np.array(variable) for variable in fit.begin(task, Silence()).variables]
    return begun, fit.fit(task, state, None, Silence(), lambda _: None, began=0.0)


@pytest.mark.timeout(600)
def test_the_same_seed_gives_the_same_weights_of_all_layers_even_if_another_process_goes_on_from_an_interruption(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from app.training import fit

    def interrupt(said: str) -> None:
        if said.startswith("epoch 1:"):
            shutil.copytree(whole.folder, interrupted.folder)

    whole, interrupted = State(tmp_path / "whole"), State(tmp_path / "interrupted")
    task = prepared(photos, whole, head_only=False)
    begun = fit.begin(task, Silence())
    variables = [np.array(variable) for variable in begun.variables]
    rows = fit.fit(task, whole, begun, Silence(), interrupt, began=0.0)

    monkeypatch.setenv("PYTHONHASHSEED", "1")  # another than that of this process, which Python draws
    with ProcessPoolExecutor(1, get_context("spawn")) as process:
        others, resumed = process.submit(gone_on_with, photos, interrupted.folder).result()
    check_same(variables, others)
    assert [row | {"seconds": 0} for row in resumed] == [row | {"seconds": 0} for row in rows]
    check_same(*(read(state.best, ALPHA) for state in (whole, interrupted)))
    check_same(*(np.load(state.folder / "checkpoint.npz").values() for state in (whole, interrupted)))  # of epoch 2
