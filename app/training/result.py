"""Writes the folder that a training is for: everything that the service needs to serve the weights, and their card."""

import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from PIL import Image

from app.config import CARD, Settings
from app.engines.bundle import Bundle
from app.measurements import Score
from app.mobilenet.variants import RESOLUTIONS, Precision
from app.model import familiarity, golden, latency, loading, scores
from app.model.familiarity import FAMILIARITIES, Familiarity, auroc
from app.model.golden import ANSWERS
from app.model.model import Model
from app.training import mistakes, models
from app.training.card import Card, no_familiarity
from app.training.evaluation import Answers, ask
from app.training.state import Row, State, best_epoch
from app.training.task import Bar, Photos, Task
from app.training.views import Views

NO_INT8 = (
    "there is no int8 model, since LiteRT cannot run the one of these weights; weights that have learnt badly can have "
    "numbers too far apart for 8 bits"
)
GOLDEN = 3
GOLDEN_SIDE = 96
"""The side of the golden images in pixels, which are made of held-out photos."""


@dataclass(frozen=True, slots=True)
class Training:
    """A training that has ended: what it worked on, the table of its epochs, and when it began by `time.monotonic`."""

    task: Task
    photos: Photos
    rows: list[Row]
    began: float


def write(training: Training, state: State, name: str, bar: Bar, say: Callable[[str], None]) -> Card:
    """Write the folder `state.result` from the best weights, and return the card. `say` is told what is missing."""
    task, folder = training.task, state.result
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    bundle = Bundle(folder, name)
    scale, precisions = models.write(task, training.photos.found.classes, state, bundle, bar)
    unknown = no_familiarity(best_epoch(training.rows), len(task.held_out))
    lacking = tuple(remark for remark in ("" if "int8" in precisions else NO_INT8, unknown) if remark)
    for remark in lacking:
        say(remark)
    loaded = list(_models(bundle, task, precisions))
    answers = _answers(training, loaded, bar)
    measured = _write_scores(training, answers, folder)
    if not unknown:
        _write_familiarity(training, answers, folder, bar)
    bar.begin("writing the card", 1)
    _pin(task, bundle, loaded)
    card = _card(training, name, scale, lacking).model_copy(
        update={
            "scores": measured,
            "mistakes": mistakes.draw(task.recipe.variant, training.photos.measured, _asked(training), answers, folder),
            "auroc": _aurocs(answers, training.photos.unfamiliar, bar),
        }
    )
    (folder / CARD).write_text(card.model_dump_json(indent=1) + "\n", encoding="utf-8")
    (folder / "card.md").write_text(card.text(), encoding="utf-8")
    return card


def _answers(training: Training, loaded: Sequence[Model], bar: Bar) -> list[Answers]:
    asked, indices = _asked(training)
    bar.begin("measuring", len(loaded) * len(indices))
    return [ask(model, asked, indices, bar) for model in loaded]


def _write_scores(training: Training, answers: Sequence[Answers], folder: Path) -> list[Score]:
    data = Path(training.task.recipe.validation).name if training.photos.validation else "held out"
    measured = [one.score(data) for one in answers]
    (folder / scores.NAME).write_bytes(scores.SCORES.dump_json(tuple(measured), indent=1) + b"\n")
    return measured


def _write_familiarity(training: Training, answers: Sequence[Answers], folder: Path, bar: Bar) -> None:
    """Write how familiar the photos are that were held out, which are asked about if the answers are of others."""
    if training.photos.validation:
        task = training.task
        bar.begin("measuring what is familiar", len(answers) * len(task.held_out))
        answers = [ask(one.model, task.views, task.held_out, bar) for one in answers]
    known = [_familiarity(one) for one in answers]
    (folder / familiarity.NAME).write_bytes(FAMILIARITIES.dump_json(known) + b"\n")


def _asked(training: Training) -> tuple[Views, Sequence[int]]:
    """Return the photos that the scores are measured on: those to validate with, or those held out."""
    task, validation = training.task, training.photos.validation
    if validation is None:
        return task.views, task.held_out
    return Views(validation.photos, 0, False, task.views.max_pixels), range(len(validation.photos))


def _card(training: Training, name: str, scale: float, remarks: tuple[str, ...]) -> Card:
    """Return the card without what is measured."""
    task, photos, rows = training.task, training.photos, training.rows
    counts = Counter(photos.found.labels)
    return Card(
        name=name,
        created=datetime.now(UTC).date().isoformat(),
        alpha=task.recipe.alpha,
        resolution=task.recipe.resolution,
        classes={label: counts[index] for index, label in enumerate(photos.found.classes)},
        photos=photos.folder,
        learnt=len(task.learnt),
        held_out=len(task.held_out),
        validated=len(photos.validation.photos) if photos.validation else 0,
        remarks=photos.found.remarks + (photos.validation.remarks if photos.validation else ()) + remarks,
        recipe=task.recipe,
        machine=latency.machine(),
        seconds=round(time.monotonic() - training.began, 1),
        temperature=scale,
        best_epoch=best_epoch(rows),
        epochs=rows,
        scores=[],
        unfamiliar_photos=photos.unfamiliar_folder,
    )


def _models(bundle: Bundle, task: Task, precisions: Sequence[Precision]) -> Iterator[Model]:
    """Load the compiled models as the service would: each precision at each resolution of the paper and its own."""
    for resolution in dict.fromkeys((task.recipe.resolution, *RESOLUTIONS)):
        for precision in precisions:
            # Not validated, which would read the environment: what is measured must not depend on it.
            yield loading.load(
                Settings.model_construct(
                    weights=str(bundle.folder), alpha=task.recipe.alpha, resolution=resolution, precision=precision
                )
            )


def _familiarity(answers: Answers) -> Familiarity:
    variant = answers.model.variant
    return Familiarity(
        alpha=variant.alpha,
        resolution=variant.resolution,
        precision=answers.model.engine.precision,
        images=len(answers.truths),
        energies=familiarity.measure(answers.predictions.energies.tolist()),
    )


def _pin(task: Task, bundle: Bundle, loaded: Sequence[Model]) -> None:
    """Write golden images, which are small parts of held-out photos, and the answers of each model to them."""
    bundle.golden.mkdir()
    rng = np.random.default_rng(task.recipe.seed)
    for number, index in enumerate(rng.permutation(task.held_out)[:GOLDEN].tolist()):
        (pixels,) = task.views.plain([index], GOLDEN_SIDE)
        Image.fromarray(pixels).save(bundle.golden / f"photo-{number + 1}.png", optimize=True)
    paths = sorted(bundle.golden.glob("*.png"))
    pinned = [golden.answers(model, paths) for model in loaded]
    (bundle.golden / golden.NAME).write_bytes(ANSWERS.dump_json(pinned) + b"\n")


def _aurocs(answers: Sequence[Answers], unfamiliar: Views | None, bar: Bar) -> dict[str, float] | None:
    """Return how well each model tells unfamiliar photos from those of its classes, if there are any."""
    if unfamiliar is None:
        return None
    indices = range(len(unfamiliar.photos))
    bar.begin("photos of none of the classes", len(answers) * len(indices))
    found = {}
    for one in answers:
        others = ask(one.model, unfamiliar, indices, bar).predictions.energies
        name = f"{one.model.variant}, {one.model.engine.precision}"
        found[name] = auroc(one.predictions.energies.tolist(), others.tolist())
    return found
