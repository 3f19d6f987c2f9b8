"""Writes the folder that a training is for: everything that the service needs to serve the weights, and their card."""

import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from PIL import Image

from app.config import CARD, Settings
from app.engines.base import Pixels
from app.engines.bundle import Bundle
from app.engines.files import write_manifest
from app.engines.keras.reader import read
from app.engines.litert import LiteRTEngine
from app.engines.tflite.convert import convert
from app.engines.tflite.interface import Interface
from app.measurements import Score
from app.mobilenet.network import logits as logits_of
from app.mobilenet.variants import RESOLUTIONS, Precision
from app.model import familiarity, golden, latency, loading, scores
from app.model.calibration import COUNT
from app.model.familiarity import FAMILIARITIES, Familiarity, auroc
from app.model.golden import ANSWERS
from app.model.model import Model
from app.training import network, temperature
from app.training.card import MISTAKES, Card, Mistake, draw_confusion, draw_mistakes
from app.training.evaluation import Answers, ask
from app.training.fonts import drawable
from app.training.network import Floats
from app.training.state import Row, State, best_epoch
from app.training.survey import shown
from app.training.task import Bar, Photos, Task, parts
from app.training.views import Views

PRECISIONS: tuple[Precision, ...] = ("float32", "int8")
NO_INT8 = (
    "there is no int8 model, since LiteRT cannot run the one of these weights; weights that have learnt badly can have "
    "numbers too far apart for 8 bits"
)
LONGEST_NAME = 24
"""The most signs of the name of a file in a picture, whose captions stand side by side."""
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
    scale, precisions = _write_models(training, state, bundle)
    lacking = () if "int8" in precisions else (NO_INT8,)
    for remark in lacking:
        say(remark)
    loaded = list(_models(bundle, task, precisions))
    answers = _answers(training, loaded, bar)
    measured = _write_scores(training, answers, folder)
    if not task.recipe.head_only:  # features that were learnt on other photos say nothing of these
        _write_familiarity(training, answers, folder, bar)
    _pin(task, bundle, loaded)
    card = _card(training, name, scale, lacking).model_copy(
        update={
            "scores": measured,
            "mistakes": _draw(training, answers, folder),
            "auroc": _aurocs(answers, training.photos.unfamiliar, bar),
        }
    )
    (folder / CARD).write_text(card.model_dump_json(indent=1) + "\n", encoding="utf-8")
    (folder / "card.md").write_text(card.text(), encoding="utf-8")
    return card


def _write_models(training: Training, state: State, bundle: Bundle) -> tuple[float, list[Precision]]:
    """Write all that the service loads, and return the temperature and the precisions."""
    scale = _write_weights(training.task, state, bundle)
    bundle.labels.write_text("\n".join(training.photos.found.classes) + "\n", encoding="utf-8")
    precisions = _compile(training.task, bundle)
    _write_manifest(bundle, training.task, precisions)
    return scale, precisions


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


def _write_weights(task: Task, state: State, bundle: Bundle) -> float:
    """Write the best weights with the temperature that suits the held-out photos; return the temperature."""
    alpha = task.recipe.alpha
    *features, kernel, bias = read(state.best, alpha)
    model = network.empty(alpha, task.classes)
    model.set_weights([*features, kernel, bias])
    answer = network.answering(logits_of(model))
    logits = np.concatenate([_logits(answer, task, resolution) for resolution in RESOLUTIONS])
    truths = np.tile(task.labels(task.held_out), len(RESOLUTIONS))
    scale = temperature.fit(logits, truths, len(task.held_out))
    model.set_weights([*features, kernel / scale, bias / scale])
    model.save_weights(bundle.weights(alpha))
    keras.backend.clear_session()
    return scale


def _logits(answer: Callable[[Floats], tf.Tensor], task: Task, resolution: int) -> Floats:
    looks = (task.views.plain(part, resolution).astype(np.float32) for part in parts(task.held_out))
    return np.concatenate([np.asarray(answer(pixels)) for pixels in looks])


def _compile(task: Task, bundle: Bundle) -> list[Precision]:
    """Compile the weights, and return the precisions of the models that can be run; others are not written."""
    recipe = task.recipe
    chosen = np.random.default_rng(recipe.seed).permutation(task.learnt)[:COUNT]
    calibration = task.views.plain(chosen.tolist(), recipe.resolution)
    written = []
    for precision in PRECISIONS:
        content = convert(bundle.weights(recipe.alpha), recipe.variant, precision, calibration)
        if _runs(content, precision, calibration[0]):
            bundle.compiled(recipe.alpha, precision).write_bytes(content)
            written.append(precision)
    return written


def _runs(model: bytes, precision: Precision, photo: Pixels) -> bool:
    """Whether LiteRT runs a compiled model. Its int8 kernels refuse steps that are too different in size."""
    try:
        LiteRTEngine.of(model, 1, precision, Interface()).predict([photo])
    except RuntimeError:
        return False
    return True


def _write_manifest(bundle: Bundle, task: Task, precisions: Sequence[Precision]) -> None:
    alpha = task.recipe.alpha
    files = [bundle.weights(alpha), *(bundle.compiled(alpha, precision) for precision in precisions), bundle.labels]
    write_manifest(bundle.folder, {path: {"classes": task.classes} for path in files})


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


def _draw(training: Training, answers: Sequence[Answers], folder: Path) -> tuple[Mistake, ...]:
    """Draw the confusion matrix and the mistakes of the variant that the network was trained for, in float32.

    Return all mistakes, in the order of the picture: those that it was most certain of come first.
    """
    one = next(one for one in answers if one.model.variant == training.task.recipe.variant)
    found = training.photos.validation or training.photos.found
    names = drawable(found.classes)
    draw_confusion(one.confusion(len(names)), names, folder / "confusion.png")
    sure = one.predictions.probabilities.max(axis=1)
    wrong: list[int] = sorted(np.flatnonzero(one.best != one.truths).tolist(), key=lambda at: -sure[at])
    views, indices = _asked(training)
    paths = [views.photos[indices[at]].path for at in wrong]
    files = drawable([shown(path.name) for path in paths[:MISTAKES]], "photo")
    captions = [
        f"{_short(file)}\n{names[one.truths[at]]}\nanswered {names[one.best[at]]}, {sure[at]:.0%}"
        for file, at in zip(files, wrong, strict=False)
    ]
    worst = [indices[at] for at in wrong[:MISTAKES]]
    pixels = views.plain(worst, 128) if worst else np.empty((0, 128, 128, 3), np.uint8)
    draw_mistakes(pixels, captions, folder / "mistakes.png")
    return tuple(
        Mistake(
            path=shown(path.relative_to(found.folder)),
            label=found.classes[one.truths[at]],
            answer=found.classes[one.best[at]],
            probability=round(float(sure[at]), 4),
        )
        for path, at in zip(paths, wrong, strict=True)
    )


def _short(name: str) -> str:
    """Return the name of a file without its middle, if it is long."""
    half = LONGEST_NAME // 2
    return name if len(name) <= LONGEST_NAME else f"{name[: half - 1]}…{name[-half:]}"


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
