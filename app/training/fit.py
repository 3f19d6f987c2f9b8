"""The training itself: first a classifier on what a network has learnt elsewhere, and then all of the network."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from app.engines.base import Pixels
from app.engines.tflite.interface import softmax
from app.errors import StartError
from app.training import classifier, network
from app.training.classifier import Sample
from app.training.network import Floats
from app.training.schedule import Learner, Schedule
from app.training.state import Row, State, best_epoch, epoch_name
from app.training.task import Bar, Task, parts, smooth
from app.training.trainer import Trainer
from app.training.views import ahead

PATIENCE = 6
"""A training ends early after so many epochs without a better one."""
HEAD_VIEWS = 4
"""How many variations of each photo the classifier is fitted to, beside the photo as it is."""
HEAD_TIME = 1_000_000
"""Number of the first of these variations; those of epochs begin with 0."""
CENTRED_ON = 512
"""How many photos the statistics of batch normalisation are taken from."""


Say = Callable[[str], None]


def fit_head_only(task: Task, state: State, bar: Bar) -> list[Row]:
    """Fit the classifier alone, and keep the network in the folder; return the table, which has one row.

    Photos are looked at as they are. On photos of hands, variations of them gained nothing, and mirrored ones did harm.
    """
    bar.begin("fitting the classifier", len(task.learnt) + len(task.held_out))
    model = network.built(task.recipe, task.classes)
    answer = network.answering(network.features_of(model))
    look = partial(task.views.plain, resolution=task.recipe.resolution)
    learnt, held_out = (
        Sample(_answers(answer, look, indices, bar), task.labels(indices)) for indices in (task.learnt, task.held_out)
    )
    head = classifier.fit(learnt, held_out)
    network.set_head(model, head)
    state.keep(model.save_weights)
    return [_row(0, softmax(classifier.logits(head, held_out.features)), held_out.labels)]


def begin(task: Task, bar: Bar) -> keras.Model:
    """Return the network that a training of all layers begins with: its classifier is fitted, and its statistics.

    The classifier is not fitted by discriminant analysis, as it is where it is trained alone: a training that began so
    had only 40 % of ten classes of hands right after an epoch. Its large weights may be why, or that photos were
    mirrored, which was not measured separately.
    """
    recipe = task.recipe
    bar.begin("preparing the network", 1)
    model = network.built(recipe, task.classes)
    order = np.random.default_rng(recipe.seed).permutation(task.learnt)
    varied = partial(task.views.varied, resolution=recipe.resolution)
    network.recentre(model, (varied(part, time=HEAD_TIME - 1) for part in parts(order[:CENTRED_ON].tolist())))
    answer = network.answering(network.features_of(model))
    bar.begin("fitting the classifier", (1 + HEAD_VIEWS) * len(task.learnt))
    looks: list[Callable[[Sequence[int]], Pixels]] = [partial(task.views.plain, resolution=recipe.resolution)]
    looks += [partial(varied, time=HEAD_TIME + time) for time in range(HEAD_VIEWS)]
    features = np.concatenate([_answers(answer, look, task.learnt, bar) for look in looks])
    labels = np.tile(task.labels(task.learnt), len(looks))
    targets = smooth(labels, task.classes)
    network.set_head(model, network.fit_head(features, targets, task.weights()[labels], recipe.seed))
    return model


def _answers(
    answer: Callable[[Floats], tf.Tensor], look: Callable[[Sequence[int]], Pixels], indices: Sequence[int], bar: Bar
) -> Floats:
    """Return the features `[n, channels]` of photos."""
    found = []
    for pixels in ahead(partial(look, part) for part in parts(indices)):
        found.append(np.asarray(answer(pixels.astype(np.float32)))[:, 0, 0])
        bar.advance(len(pixels))
    return np.concatenate(found)


def fit(task: Task, state: State, begun: keras.Model | None, bar: Bar, say: Say, *, began: float) -> list[Row]:
    """Train all of the network, and keep the best of it in the folder; return the table of epochs.

    It begins with a network, or where the checkpoint in the folder ends. `began` is when the training did, by
    `time.monotonic`. Raises `StartError` if the loss is no number, or if the folder cannot be written.
    """

    def watched(epoch: int) -> Row:
        return _watched(task, learner, epoch) | {"seconds": round(time.monotonic() - began, 1)}

    recipe = task.recipe
    bar.begin("preparing the training", 1)
    schedule = recipe.schedule(len(task.learnt))
    build = partial(network.empty, recipe.alpha, task.classes)
    learner = Trainer(build() if begun is None else begun, build(), 1.0, recipe.seed)
    if begun is None:
        rows = state.restore(learner)
    else:
        rows = [watched(0)]
        state.save(learner, rows, best=True)
        _tell(rows, say)
    for epoch in range(len(rows) - 1, schedule.epochs):
        if epoch - best_epoch(rows) >= PATIENCE:
            say(f"no epoch was better than epoch {epoch_name(best_epoch(rows))}: the training ends early")
            break
        bar.begin(f"epoch {epoch + 1} of {schedule.epochs}", schedule.steps * schedule.batch)
        rows.append(_epoch(task, schedule, learner, epoch, bar) | watched(epoch + 1))
        state.save(learner, rows, best=best_epoch(rows) == epoch + 1)
        _tell(rows, say)
    return rows


def _tell(rows: Sequence[Row], say: Say) -> None:
    """Say how good the last epoch is."""
    accuracy, loss = rows[-1]["accuracy"], rows[-1]["loss"]
    say(f"epoch {epoch_name(len(rows) - 1)}: right on {accuracy:.1%} of the held-out photos, loss {loss:.3f}")


def _epoch(task: Task, schedule: Schedule, learner: Learner, epoch: int, bar: Bar) -> Row:
    learnt = []
    for number, batch in enumerate(_batches(task, schedule, epoch), start=epoch * schedule.steps):
        learnt.append(learner.learn(number, schedule.learning_rate(number), *batch))
        bar.advance(schedule.batch)
    loss, accuracy = np.mean([[float(value) for value in one] for one in learnt], axis=0)
    if not math.isfinite(loss):
        raise StartError(
            f"the training was stopped in epoch {epoch + 1}, since its loss is {loss} and no number: nothing can be "
            "learnt from there on; begin with other weights (--from), or with another --seed"
        )
    return {"training_loss": float(loss), "training_accuracy": float(accuracy)}


def _batches(task: Task, schedule: Schedule, epoch: int) -> Iterator[tuple[Pixels, Floats, Floats]]:
    rng = np.random.default_rng((schedule.seed, epoch))
    shares, weights = schedule.shares(epoch), task.weights()

    def batch(rows: Sequence[int], resolution: int) -> tuple[Pixels, Floats, Floats]:
        labels = task.labels(rows)
        pixels = task.views.varied(rows, resolution, epoch)
        return pixels, smooth(labels, task.classes), weights[labels]

    def calls() -> Iterator[Callable[[], tuple[Pixels, Floats, Floats]]]:
        order = rng.permutation(task.learnt)[: schedule.steps * schedule.batch]
        for rows in order.reshape(-1, schedule.batch):
            resolution = int(rng.choice(list(shares), p=list(shares.values())))
            yield partial(batch, rows.tolist(), resolution)

    return ahead(calls())


def _watched(task: Task, learner: Learner, epoch: int) -> Row:
    """Return how well the averaged network does on the photos that are held out."""
    look = partial(task.views.plain, resolution=task.recipe.resolution)
    answers = [np.asarray(learner.probabilities(look(part))) for part in parts(task.held_out)]
    return _row(epoch, np.concatenate(answers), task.labels(task.held_out))


def _row(epoch: int, probabilities: Floats, labels: NDArray[np.int64]) -> Row:
    right = probabilities.argmax(axis=-1) == labels
    return {"epoch": epoch, "loss": classifier.loss(probabilities, labels), "accuracy": float(right.mean())}
