"""Where the classifier alone is trained, the same seed gives the same one; `e2e/test_train.py` looks at all layers."""

from pathlib import Path

import numpy as np
import pytest

from app.engines.keras.reader import read
from app.training.recipe import Recipe
from app.training.state import Row, State
from app.training.survey import hold_out
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


def trained(photos: Path, state: State) -> list[Row]:
    """Train as a process does that was just started, whose own random numbers are others each time."""
    import keras

    from app.training.fit import fit_head_only

    keras.utils.set_random_seed(np.random.default_rng().integers(2**31).item())
    recipe = Recipe(
        alpha=ALPHA,
        resolution=128,
        start="imagenette",
        epochs=1,
        head_only=True,
        mirror=True,
        validation="",
        seed=SEED,
    )
    found = look(photos)
    learnt, held_out = hold_out(found.labels, 0.25, SEED)
    state.begin(recipe, {}, resume=False)
    views = Views(found.photos, SEED, recipe.mirror, MAX_PIXELS)
    return fit_head_only(Task(recipe, len(found.classes), views, learnt, held_out), state, Silence())


def test_the_same_seed_gives_the_same_weights_with_the_classifier_alone_trained(photos: Path, tmp_path: Path) -> None:
    states = [State(tmp_path / name) for name in ("first", "second")]
    rows = [trained(photos, state) for state in states]
    assert rows[0] == rows[1]
    for one, other in zip(*(read(state.best, ALPHA) for state in states), strict=True):
        np.testing.assert_array_equal(one, other)
