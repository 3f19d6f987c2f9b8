"""What a training writes: the models that can be run, and the names of the photos that were answered wrongly."""

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

from app.engines.base import Predictions
from app.engines.bundle import Bundle
from app.model.model import Model
from app.training.holdout import hold_out
from app.training.task import Task
from app.training.views import Views
from tests.support import needs
from tests.training.test_fit import Silence
from tests.training.test_state import RECIPE
from tests.training.test_survey import MAX_PIXELS, album, look

pytestmark = [pytest.mark.tensorflow, needs.TENSORFLOW.mark()]


@pytest.mark.parametrize(("apart", "written"), [(False, ["float32", "int8"]), (True, ["float32"])])
def test_an_int8_model_that_cannot_be_run_is_left_out(apart: bool, written: list[str], tmp_path: Path) -> None:
    from app.training import network
    from app.training.models import _compile

    found = look(album(tmp_path / "photos", cat=4, dog=4))
    learnt, held_out = hold_out(found.labels, 0.25, 0)
    recipe = RECIPE.model_copy(update={"alpha": 0.25, "resolution": 128})
    task = Task(recipe, 2, Views(found.photos, 0, mirror=False, max_pixels=MAX_PIXELS), learnt, held_out)
    model = network.empty(recipe.alpha, task.classes)
    if apart:  # one channel has far larger weights than what the others answer with, and is silent
        last = [layer for layer in model.layers if "bn" in layer.name][-1]
        for variable, silent in ((last.gamma, 1e6), (last.beta, -1e9)):
            variable.assign(np.array([silent] + [1e-3] * (variable.shape[0] - 1), np.float32))
    bundle = Bundle(tmp_path, "own")
    model.save_weights(bundle.weights(recipe.alpha))
    assert _compile(task, bundle, Silence()) == written
    assert [bundle.compiled(recipe.alpha, one).exists() for one in ("float32", "int8")] == [True, not apart]


def test_every_photo_that_is_answered_wrongly_is_named_by_its_path_the_surest_mistake_first(tmp_path: Path) -> None:
    from app.training.evaluation import Answers
    from app.training.mistakes import draw

    found = look(album(tmp_path / "photos", cat=4, dog=4))
    task = Task(RECIPE, 2, Views(found.photos, 0, mirror=False, max_pixels=MAX_PIXELS), [2, 3, 6, 7], [0, 1, 4, 5])
    cats = np.array([0.9, 0.3, 0.8, 0.1], np.float32)  # the first and the last are right
    predictions = Predictions(np.stack([cats, 1 - cats], axis=1), np.zeros(4, np.float32))
    model = cast("Model", SimpleNamespace(variant=RECIPE.variant))
    answers = Answers(model, predictions, task.labels(task.held_out))
    mistakes = draw(RECIPE.variant, found, (task.views, task.held_out), [answers], tmp_path)
    assert [(one.path, one.label, one.answer, one.probability) for one in mistakes] == [
        ("dog/4.png", "dog", "cat", 0.8),
        ("cat/1.png", "cat", "dog", 0.7),
    ]
    assert (tmp_path / "mistakes.png").is_file()
