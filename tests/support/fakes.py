"""Small real things that stand in for large ones."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from app.config import Settings
from app.engines.base import Engine, Features, Head, Pixels, Predictions
from app.engines.tflite.interface import predictions
from app.mobilenet.architecture import STRIDE
from app.mobilenet.variants import Precision, Variant
from app.model.familiarity import STEPS, Familiarity
from app.model.labels import Label
from app.model.model import Model
from app.runtime.inline import Threads
from app.runtime.local import in_process
from app.runtime.pipeline import Pipeline


class Clock:
    """The module `time` with a clock that a test sets."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def monotonic(self) -> float:
        """Return the time."""
        return self.now_s

    perf_counter = monotonic


COLOURS = {
    "red": (220, 30, 30),
    "green": (30, 180, 40),
    "blue": (30, 40, 210),
    "yellow": (230, 220, 40),
    "white": (250, 250, 250),
    "black": (5, 5, 5),
}


class ColourEngine:
    """Classifies an image by its mean colour: softmax over the distances to the named colours.

    The nearer its mean is to one of them, the higher is an image's energy: 0 at most, and about -8 for a middling grey.
    """

    name = "colour"
    precision: Precision = "float32"
    classes = len(COLOURS)

    def predict(self, images: Sequence[Pixels]) -> Predictions:
        """Return the predictions for six classes."""
        means = np.stack(images).mean(axis=(1, 2))
        distances = np.linalg.norm(means[:, None] - np.array(list(COLOURS.values())), axis=2) / 16
        return predictions(-distances.astype(np.float32))


class MosaicEngine(ColourEngine):
    """Classifies an image by the colours of its squares of 32 × 32 pixels, linearly as MobileNetV1 does.

    A logit is less by so much as the squared distance of the mean colour to the named one is more.
    """

    channels = 3

    def __init__(self) -> None:
        named = np.array(list(COLOURS.values())) / 255
        kernel, bias = 20 * named.T, -10 * np.square(named).sum(axis=1)
        self.head = Head(kernel.astype(np.float32), bias.astype(np.float32))

    def predict(self, images: Sequence[Pixels]) -> Predictions:
        """Return the predictions for six classes."""
        return self.observe(images)[0]

    def observe(self, images: Sequence[Pixels]) -> tuple[Predictions, Features]:
        """Return the predictions, and the mean colour of each square, 0 to 1."""
        count, side = len(images), len(images[0]) // STRIDE
        squares = np.stack(images).reshape(count, side, STRIDE, side, STRIDE, 3)
        features = squares.mean(axis=(2, 4), dtype=np.float32) / np.float32(255)
        return predictions(features.mean(axis=(1, 2)) @ self.head.kernel + self.head.bias), features


def familiarity(*energies: float) -> Familiarity:
    """Return what images of the model of colours are compared with: photos whose energies lie between these, evenly."""
    spread = tuple(np.linspace(min(energies), max(energies), STEPS + 1).tolist())
    return Familiarity(alpha=0.25, resolution=64, precision="float32", images=100, energies=spread)


class HeldEngine(ColourEngine):
    """Keeps whoever asks about a black image waiting until it is released; answers all others at once."""

    def __init__(self) -> None:
        self.released = threading.Event()

    def predict(self, images: Sequence[Pixels]) -> Predictions:
        """Return the predictions for six classes, once it may."""
        if any(image.max() < 10 for image in images):
            self.released.wait(30)
        return super().predict(images)


def colour_model() -> Model:
    """Return a model of colours that claims to be α 0.25 at 64."""
    labels = tuple(Label(index, f"n{index:08d}", name) for index, name in enumerate(COLOURS))
    return Model(ColourEngine(), Variant(0.25, 64), labels, "colours", "0" * 64, published=False)


def mosaic_model() -> Model:
    """Return a model that gives features and claims to be α 0.25 at 64."""
    return replace(colour_model(), engine=MosaicEngine(), channels=MosaicEngine.channels)


def serving_lineup(**engines: Engine) -> Callable[[Settings], Pipeline]:
    """Return what `create_app` opens to serve models of colours that claim to be the variants of the settings.

    An engine of the name `r64` is that of the variants at 64 × 64 pixels.
    """

    def load(settings: Settings) -> Model:
        engine = engines.get(f"r{settings.resolution}", ColourEngine())
        channels = getattr(engine, "channels", 0)
        return replace(colour_model(), variant=settings.variant, engine=engine, channels=channels)

    return lambda settings: Threads(in_process(settings, load))


def serving(model: Model) -> Callable[[Settings], Pipeline]:
    """Return what `create_app` opens to serve this model in its own process."""
    return lambda settings: Threads(in_process(settings, lambda _: model))
