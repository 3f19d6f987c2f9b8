"""Train a network further by what a teacher sees in mixed photos: its features, and which of the classes it names.

What `tools/train.py` makes has learnt what ten labels say of some thousand photos. The features of a network that knows
a thousand classes say more of each, and of the mixture of two photos too, which nobody has seen before.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import keras
import numpy as np
import tensorflow as tf
import typer
from numpy.typing import NDArray

from app.mobilenet import network
from tools.train import Plan, Run, Shares, ahead, fit, split
from tools.trainer import BATCH, REPORT, HeldOut, Trainer
from tools.views import FEATURES, TEMPERATURE, Floats, Indices, Photos, Pixels, Teacher, cut, random_boxes, smooth

SHARES: Shares = {96: 0.07, 128: 0.38, 160: 0.32, 192: 0.15, 224: 0.08}
LEARNING_RATE = 7e-4
"""A quarter of that of `tools/train.py`: higher ones undo what was learnt, and few epochs do not learn it again."""
MIXED = 0.5
"""Which part of the images has up to half of another in it."""
AVERAGE_DECAY = 0.998
SAMPLE = 40
"""Batches that the scale of the features, and the first guess at them, are taken from."""
RIDGE = 0.003

Batch = tuple[Pixels, Floats, Floats]
"""Pixels `[64, r, r, 3]`, targets `[64, classes]` and the teacher's features `[64, f]`."""


@dataclass(frozen=True, slots=True)
class Lessons:
    """Batches of the photos of `indices`, about each of which a teacher is asked; no view comes twice."""

    photos: Photos
    indices: Indices
    ask: Callable[[Floats], tuple[Floats, Floats]]
    side: int
    """The resolution of what `ask` takes."""

    def __call__(self, plan: Plan, epoch: int) -> Iterator[Batch]:
        """Yield an epoch's shuffled batches."""
        rng = np.random.default_rng((plan.seed, epoch))
        shares = plan.shares(epoch)
        order = rng.permutation(self.indices)[: plan.steps * BATCH].reshape(-1, BATCH)
        sides = rng.choice(list(shares), p=list(shares.values()), size=len(order))
        draws = zip(order, map(int, sides), rng.spawn(len(order)), strict=True)
        return ahead(partial(self._batch, *draw) for draw in draws)

    def _batch(self, photos: Indices, side: int, rng: np.random.Generator) -> Batch:
        boxes = random_boxes(BATCH, 1, int(rng.integers(2**31)))[:, 0]
        mirror, other = rng.random(BATCH) < 0.5, rng.permutation(BATCH)
        share = np.where(rng.random(BATCH) < MIXED, rng.uniform(0.5, 1, BATCH), 1).astype(np.float32)

        def views(side: int) -> Floats:
            whole = cut(self.photos.pixels, photos, boxes, mirror, side).astype(np.float32)
            own: Floats = share[:, None, None, None]
            return whole * own + whole[other] * (1 - own)

        seen = views(self.side)
        logits, features = self.ask(seen)
        targets = soften(logits, self.photos.labels[photos], share == 1)
        return (seen if side == self.side else views(side)).astype(np.uint8), targets, features


def soften(logits: Floats, labels: Indices, whole: NDArray[np.bool_]) -> Floats:
    """Return the teacher's softened answers `[n, classes]`, or the smoothed label where it gets a whole photo wrong."""
    soft = np.exp((logits - logits.max(-1, keepdims=True)) / TEMPERATURE)
    wrong = whole & (logits.argmax(-1) != labels)
    return np.where(wrong[:, None], smooth(labels, logits.shape[-1]), soft / soft.sum(-1, keepdims=True))


class Pupil(Trainer):
    """A network that learns a teacher's features too, through a projection that is of no use afterwards."""

    average_decay = AVERAGE_DECAY

    def __init__(self, *arguments: Any, width: int, features: int) -> None:
        """Make the network, of `width` features itself, as `Trainer` does."""
        self.projection = keras.Variable(np.zeros((width, features), np.float32), name="projection")
        self.offset = keras.Variable(np.zeros(features, np.float32), name="bias")
        self.mean = keras.Variable(np.zeros(features, np.float32), trainable=False)
        self.scale = keras.Variable(np.ones(features, np.float32), trainable=False)
        super().__init__(*arguments)

    @property
    def learning(self) -> list[Any]:
        """The variables that are trained."""
        return [*super().learning, self.projection, self.offset]

    @property
    def variables(self) -> list[Any]:
        """Every variable, in a fixed order."""
        return [*super().variables, self.projection, self.offset, self.mean, self.scale]

    def loss(self, logits: tf.Tensor, features: tf.Tensor, targets: tf.Tensor, *more: tf.Tensor) -> tf.Tensor:
        """Add how far the features, projected, are from the teacher's: the mean square, in their own variance."""
        (wanted,) = more
        guess = tf.matmul(features, self.projection) + self.offset
        away = tf.reduce_mean(tf.square(guess - (wanted - self.mean) / self.scale))
        return super().loss(logits, features, targets) + away

    def guess(self, batches: Iterable[Batch]) -> None:
        """Begin with the best projection for these batches, by ridge regression; the network stays as it is."""
        pooled = keras.Model(self.average.input, self.average.get_layer(FEATURES).output)
        pairs = [(pooled(tf.cast(pixels, tf.float32), training=False), features) for pixels, _, features in batches]
        own = np.concatenate([np.reshape(each, (BATCH, -1)) for each, _ in pairs])
        wanted = np.concatenate([each for _, each in pairs])
        mean, scale = wanted.mean(0), wanted.std(0) + 0.05  # some features are hardly ever there
        own = np.hstack([own, np.ones((len(own), 1), np.float32)])
        penalty = RIDGE * len(own) * own[:, :-1].var() * np.eye(own.shape[1])
        found = np.linalg.solve(own.T @ own + penalty, own.T @ ((wanted - mean) / scale))
        for variable, value in zip(
            (self.projection, self.offset, self.mean, self.scale), (found[:-1], found[-1], mean, scale), strict=True
        ):
            variable.assign(value)


def begin(model: keras.Model, weights: Path, temperature: float) -> None:
    """Give the model these weights; their logits were divided by the temperature."""
    model.load_weights(weights)
    *rest, kernel, bias = model.get_weights()
    model.set_weights([*rest, kernel * temperature, bias * temperature])


def main(
    run: Annotated[Path, typer.Option(help="Folder of this training; a cache of the photos goes in its parent.")],
    alpha: Annotated[float, typer.Option(help="Width multiplier.")],
    start: Annotated[Path, typer.Option(help="Keras weights to start from.")],
    temperature: Annotated[float, typer.Option(help="That is folded into them, by MANIFEST.toml.")] = 1.0,
    epochs: Annotated[int, typer.Option(help="Length of the schedule.")] = 20,
    data: Annotated[Path, typer.Option(help="Folder with train/<WordNet id>/*.")] = Path("../shared/data/imagenette"),
    teacher: Annotated[Path, typer.Option(help="ImageNet .h5 weights, with labels.json beside them.")] = Path(
        "../shared/data/imagenet/mobilenet_5_0_160_tf.h5"
    ),
    teacher_alpha: Annotated[float, typer.Option(help="Width multiplier of the teacher.")] = 0.5,
    teacher_resolution: Annotated[int, typer.Option(help="Pixels a side that the teacher sees.")] = 160,
    learning_rate: Annotated[float, typer.Option(help="The highest.")] = LEARNING_RATE,
    seed: Annotated[
        int, typer.Option(help="Of the views and their order; the photos held out are those of seed 0.")
    ] = 1,
) -> None:
    """Train, or go on training, and leave the weights, a table and a curve in the run's folder."""
    run.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(seed)
    photos = Photos.load(data / "train", run.parent)
    indices, held_out_indices = split(len(photos.labels), 0)
    held_out = HeldOut.of(photos, held_out_indices)
    guide = Teacher(teacher, teacher_alpha, teacher_resolution)
    ask = partial(guide.ask, guide.interpreter(BATCH), columns=guide.columns(photos.wnids))
    lessons = Lessons(photos, indices, ask, teacher_resolution)
    plan = Plan(epochs, len(indices) // BATCH, seed, ((1.0, SHARES),), learning_rate)
    build = partial(network.build, alpha, None, len(photos.wnids), input_dtype="float32")
    own = partial(begin, weights=start, temperature=temperature)
    pupil = Pupil(build, TEMPERATURE, seed, own, width=round(1024 * alpha), features=round(1024 * teacher_alpha))
    pupil.guess(islice(lessons(replace(plan, seed=seed + 1), 0), SAMPLE))
    files = Run(run)
    files.plot(fit(pupil, lessons, held_out, plan, files))
    for resolution in REPORT:
        typer.echo(f"held-out top-1 @ {resolution}: {pupil.evaluate(held_out, resolution)[1]:.2%}")


if __name__ == "__main__":
    typer.run(main)
