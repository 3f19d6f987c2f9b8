"""Let the energy of a network say how familiar an image is to a teacher, which knows a thousand classes.

The energy is log Σ exp(logit). A number that is added to all logits of an image is added to its energy, and changes no
probability. If it is a linear function of the features, it can be added to the kernel and the bias of the classifier,
and costs nothing. The function that is found here brings the energy near to what a teacher says: the log-odds that an
image shows one of the network's classes and not one of ImageNet's others. It is found by ridge regression, on training
photos, on pictures of other things, and on images that show nothing.
"""

import random
import sys
from collections.abc import Iterator, Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import Annotated, NamedTuple, cast

import numpy as np
import typer
from PIL import Image
from rich.console import Console
from rich.progress import track

from app.config import Settings
from app.engines.base import Engine, FeatureEngine
from app.engines.bundle import BUNDLED
from app.engines.keras.reader import read
from app.errors import StartError
from app.mobilenet.variants import RESOLUTIONS
from app.model import loading
from tools.training.head import without_shift
from tools.training.photos import SIDE, Floats, Photos, Pixels, crop, cut, imagenet_classes, random_boxes, split
from tools.weights.others import MADE_UP, pictures, plain, shown

AREA = (0.6, 1.0)
"""The least and the largest part of a photo that is shown. Of smaller parts the teacher is less sure."""
SHOWN = 5
"""How many parts of each picture are shown."""
NOTHING = 900
"""How many images are made up."""
ON_A_PHOTO = 0.7
"""The share of the pictures with transparency that are laid on a part of a photo, and not on a plain colour."""
LEAST = 6e-6
"""Added to probabilities, so that log-odds are from -12 to 12."""
UNKNOWN = -8.0
"""The log-odds of images that show nothing, for which no teacher is needed."""
TEACHER_ALPHA, TEACHER_SIDE = 0.5, 160
"""The width multiplier of the teacher, and the resolution in pixels at which it looks."""
RIDGE = 0.1
"""The penalty, in relation to the mean variance of the features. A smaller one would give the kernel weights that are
so large that rounding them to int8 or bfloat16 costs the differences between classes."""
BATCH = 32


class View(NamedTuple):
    """An image, uint8 `[224, 224, 3]`, and its log-odds, if they are known without a teacher."""

    pixels: Pixels
    log_odds: float | None = None


class Shift(NamedTuple):
    """What is added to all logits of an image: its features times `kernel`, `[channels]`, plus `bias`."""

    kernel: Floats
    bias: float
    explained: float
    """The share of the variance of what the energies lacked that this explains, 0 to 1."""


def views(photos: Photos, others: Path, seed: int) -> Iterator[View]:
    """Yield random parts of the photos that are not held out and of other pictures, and images that show nothing."""
    if next(pictures(others), None) is None:
        raise StartError(f"there are no pictures in {others}")
    draw = random.Random(seed)
    indices = split(len(photos.labels), 0)[0]
    boxes = random_boxes(len(indices), 1, seed, AREA)[:, 0]
    mirrored = np.array([draw.random() < 0.5 for _ in indices])
    for one in np.split(np.arange(len(indices)), len(indices)):
        yield View(cut(photos.pixels, indices[one], boxes[one], mirrored[one], SIDE)[0])

    def background() -> Image.Image:
        if draw.random() > ON_A_PHOTO:
            return plain(draw)
        number = draw.randrange(len(indices))
        return Image.fromarray(crop(photos.pixels[indices[number]], boxes[number], SIDE))

    for picture in pictures(others):
        yield from (View(shown(picture, background(), draw)) for _ in range(SHOWN))
    for number in range(NOTHING):
        yield View(np.asarray(MADE_UP[number % len(MADE_UP)](draw)), UNKNOWN)


def log_odds(probabilities: Floats, columns: list[int]) -> Floats:
    """Return the log-odds `[n]` of these classes against all others, by probabilities `[n, classes]`; -12 to 12."""
    inside = probabilities[:, columns].sum(axis=1)
    outside = np.delete(probabilities, columns, axis=1).sum(axis=1)
    found: Floats = np.log(inside + LEAST) - np.log(outside + LEAST)
    return found


class Observed(NamedTuple):
    """What a network and its teacher say of n images: `features` `[n, channels]`, `energies` and `wanted` `[n]`.

    The energies are those of logits that are counted from their mean, so a shift that was made before is not in them.
    """

    features: Floats
    energies: Floats
    wanted: Floats


def observe(network: FeatureEngine, side: int, teacher: Engine, columns: list[int], seen: Sequence[View]) -> Observed:
    """Show images to both: to the network at `side` pixels, and to the teacher at those that it is made for."""
    asked = [_resized(view.pixels, TEACHER_SIDE) for view in seen if view.log_odds is None]
    taught = iter(log_odds(teacher.predict(asked).probabilities, columns) if asked else ())
    wanted = [next(taught) if view.log_odds is None else view.log_odds for view in seen]
    predictions, maps = network.observe([_resized(view.pixels, side) for view in seen])
    features, shared = maps.mean(axis=(1, 2)), network.head.shared
    energies = predictions.energies - features @ shared.kernel[:, 0] - shared.bias
    return Observed(features, energies, np.array(wanted, np.float32))


def observe_all(
    networks: Sequence[FeatureEngine], teacher: Engine, columns: list[int], seen: Iterator[View]
) -> Observed:
    """Show each batch of images to the network at one of `RESOLUTIONS`, in turn."""
    sides = cycle(zip(networks, RESOLUTIONS, strict=True))
    batches = iter(lambda: list(islice(seen, BATCH)), [])
    looking = track(batches, "looking", console=Console(stderr=True))
    found = [observe(*next(sides), teacher, columns, batch) for batch in looking]
    return Observed(*(np.concatenate(parts) for parts in zip(*found, strict=True)))


def _resized(pixels: Pixels, side: int) -> Pixels:
    return crop(pixels, (0, 0, SIDE, SIDE), side)


def fit(observed: Observed) -> Shift:
    """Return the shift that brings the energies nearest to what is wanted, by ridge regression."""
    features = observed.features.astype(np.float64)
    missing = (observed.wanted - observed.energies).astype(np.float64)
    mean = features.mean(axis=0)
    away, lacking = features - mean, missing - missing.mean()
    penalty = RIDGE * away.var() * len(away) * np.eye(away.shape[1])
    kernel = np.linalg.solve(away.T @ away + penalty, away.T @ lacking)
    explained = 1 - np.square(lacking - away @ kernel).mean() / np.square(lacking).mean()
    return Shift(kernel.astype(np.float32), float(missing.mean() - mean @ kernel), float(explained))


def fold(weights: Path, alpha: float, shift: Shift, target: Path) -> None:
    """Write Keras weights that answer as these do, whose logits have the shift in common and nothing else."""
    from app.mobilenet.network import build

    *features, kernel, bias = without_shift(read(weights, alpha))
    network = build(alpha, None, len(bias))
    network.set_weights([*features, kernel + shift.kernel[:, None], bias + np.float32(shift.bias)])
    network.save_weights(target)


def load(weights: Path, alpha: float, side: int, labels: Path | None = None) -> FeatureEngine:
    """Load Keras weights into the engine that serves them."""
    settings = Settings(
        weights=str(weights), alpha=alpha, resolution=side, labels=labels, engine="litert", precision="float32"
    )
    return cast("FeatureEngine", loading.load(settings).engine)


def main(
    alpha: Annotated[float, typer.Option(help="Width multiplier of the weights.")],
    others: Annotated[
        Path,
        typer.Option(
            exists=True, file_okay=False, help="Folder of pictures of other things; folders in it are searched, too."
        ),
    ],
    weights: Annotated[Path | None, typer.Option(help="Keras weights; those that are bundled if not given.")] = None,
    target: Annotated[Path | None, typer.Option(help="File to write; the weights themselves if not given.")] = None,
    data: Annotated[Path, typer.Option(help="Folder with train/<WordNet id>/*.")] = Path("../shared/data/imagenette"),
    teacher: Annotated[Path, typer.Option(help="ImageNet .h5 weights of α 0.5, with labels.json beside them.")] = Path(
        "../shared/data/imagenet/mobilenet_5_0_160_tf.h5"
    ),
    cache: Annotated[Path, typer.Option(help="Folder for decoded photos.")] = Path("build"),
    seed: Annotated[int, typer.Option(help="Determines what is seen of the photos and the pictures.")] = 1,
) -> None:
    """Shift the energies of a network towards the log-odds of a teacher; its probabilities stay the same."""
    source = weights or BUNDLED.weights(alpha)
    cache.mkdir(parents=True, exist_ok=True)
    photos = Photos.load(data / "train", cache)
    columns = imagenet_classes(teacher.with_name("labels.json"), photos.wnids)
    guide = load(teacher, TEACHER_ALPHA, TEACHER_SIDE)
    networks = [load(source, alpha, side, BUNDLED.labels) for side in RESOLUTIONS]
    observed = observe_all(networks, guide, columns, views(photos, others, seed))
    shift = fit(observed)
    fold(source, alpha, shift, target or source)
    typer.echo(f"α {alpha:g}: {len(observed.wanted):,} images; explained {shift.explained:.1%} of what was lacking")


if __name__ == "__main__":
    try:
        typer.run(main)
    except StartError as exc:
        sys.exit(f"energy: {exc}")
