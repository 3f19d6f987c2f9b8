"""From image files to probabilities: decode every image of a batch, then run on it each model that is asked for.

`Local` does this for one batch after the other, and whoever calls it waits. What has it done beside an event loop is a
`Pipeline`: in other processes (`pool`), on threads or between the events of the loop itself (`inline`).
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from io import BytesIO
from itertools import repeat
from math import prod
from typing import NamedTuple, Protocol, cast

import numpy as np
from PIL import Image

from app.config import Settings
from app.engines.base import Engine, FeatureEngine, Features, Pixels, Predictions, Probabilities
from app.errors import ServiceError
from app.imaging import decode
from app.imaging.decode import LargeImage, Region
from app.imaging.overlay import overlay
from app.imaging.text import from_base64
from app.mobilenet.architecture import STRIDE
from app.mobilenet.variants import Variant
from app.model import golden, model
from app.model.evidence import Embedding, Evidence, embedding, evidence
from app.model.labels import top_k
from app.model.model import Model
from app.model.selftest import self_test
from app.runtime.memory import keep_to_limit

Payload = bytes | str | Pixels
"""One image: the bytes of its file, the same in base64, or the network's input itself as a uint8 tensor `[r, r, 3]`."""
TENSOR = "tensor"
"""The format of an image that came as a tensor; the other formats are those of `decode.FORMATS`."""


class Wish(NamedTuple):
    """What is asked of an image beside its probabilities; what is not asked for leaves no worker.

    `classes` is the number of most probable classes to give the evidence for. With `target` it is 1, and means the
    class of this number.
    """

    embedding: bool = False
    classes: int = 0
    target: int | None = None


NOTHING = Wish()
"""Only probabilities are asked for."""


LONGEST = 2048
"""The longer side, in pixels, of the largest picture that is drawn."""


class Job(NamedTuple):
    """One image, the variants that shall classify it, each of them named once, and what else is asked of them."""

    payload: Payload
    variants: tuple[Variant, ...]
    wish: Wish = NOTHING


class Overlay(NamedTuple):
    """Evidence `[side, side]`, float32, to draw over an image: over what the network sees, or over all of the photo."""

    evidence: Evidence
    whole: bool


class Sizes(NamedTuple):
    """The sizes of what a model says of an image: its classes, and the channels and the side of its features."""

    classes: int
    channels: int
    side: int

    @classmethod
    def of(cls, loaded: Model) -> "Sizes":
        """Return the sizes of a model."""
        return cls(loaded.engine.classes, loaded.channels, loaded.variant.resolution // STRIDE)

    def embedding(self, wish: Wish) -> int:
        """Return how many numbers the embedding has that is asked for; 0 if none is."""
        return self.channels * wish.embedding

    def evidence(self, wish: Wish) -> tuple[int, int, int]:
        """Return the shape of the evidence that is asked for; if none is, its first number is 0."""
        return (wish.classes, self.side, self.side)

    def extras(self, wish: Wish) -> int:
        """Return how many numbers are asked for beside the probabilities; a region belongs to the evidence."""
        return self.embedding(wish) + prod(self.evidence(wish)) + len(Region._fields) * bool(wish.classes)


class Outcome(NamedTuple):
    """The probabilities `[classes]` of one image by one model, and how long its decoding and the run of its batch took.

    `energy` is one of the energies of `Predictions`, and NaN where the model gives none. `format` is one of
    `decode.FORMATS` or `TENSOR`; `decode_began` and `inference_began` are times of `time.monotonic`. The embedding and
    the evidence, for classes from the most probable on, are there if they were asked for; with the evidence also the
    region of the file that it is about. A tensor has no region.
    """

    probabilities: Probabilities
    energy: float
    decode_ms: float
    inference_ms: float
    format: str
    decode_began: float
    inference_began: float
    embedding: Embedding | None = None
    evidence: Evidence | None = None
    region: Region | None = None


JobResult = tuple[Outcome, ...] | ServiceError | LargeImage
"""What a job came to: an outcome for each of its variants, in their order and of one decoding, or what is wrong."""


class Pipeline(Protocol):
    """Models that classify images beside an event loop. The first one answers requests that name no variant."""

    models: tuple[Model, ...]
    runs: int  # how many batches may run at the same time

    @property
    def fault(self) -> str | None:
        """Why no image can be classified any more, so that only a restart helps; None if all is well."""
        ...

    async def run(self, jobs: Sequence[Job], large: bool = False) -> list[JobResult]:
        """Classify the images of a batch, as `Local.run` does."""
        ...

    async def preview(self, payload: Payload, resolution: int, over: Overlay | None = None) -> bytes:
        """Draw the network's input, as `Local.preview` does."""
        ...

    async def close(self) -> None:
        """End what it started."""
        ...


Extras = tuple[Embedding | None, Evidence | None]
"""What was asked of an image beside its probabilities."""


class Decoded(NamedTuple):
    """The pixels of one image for each variant that shall classify it, and how long decoding took."""

    pixels: dict[Variant, Pixels]
    decode_ms: float
    format: str
    began: float
    wish: Wish
    region: Region | None

    def outcome(
        self, probabilities: Probabilities, energy: float, inference_ms: float, began: float, extras: Extras
    ) -> Outcome:
        """Return what one model made of the image, whose run began at this time."""
        times = (self.decode_ms, inference_ms, self.format, self.began, began)
        region = self.region if self.wish.classes else None
        return Outcome(probabilities, energy, *times, extras[0], extras[1], region)


Decoding = Decoded | ServiceError | LargeImage


class Local:
    """Loaded models in this process. They run one batch at a time, and the caller waits for it."""

    def __init__(self, models: Sequence[Model], max_pixels: int) -> None:
        self.models = tuple(models)
        self._by_variant = {model.variant: model for model in models}
        self._max_pixels = max_pixels

    def with_models(self, models: Sequence[Model]) -> "Local":
        """Return a pipeline of other models with the same limits for images."""
        return Local(models, self._max_pixels)

    def run(self, jobs: Sequence[Job], large: bool = False) -> list[JobResult]:
        """Classify images together; the results are in the order of the jobs, and an image that is bad fails alone.

        Without `large`, an image of more than 12 million pixels is not decoded and its result is `LargeImage`. Raises
        whatever else goes wrong: that is a fault of the model or of this program and not of an image.
        """
        return self.classify([self.decode(job, large) for job in jobs])

    def decode(self, job: Job, large: bool = False) -> Decoding:
        """Return the pixels that the variants of a job need, or what is wrong with the image; on any thread."""
        began = time.monotonic()
        try:
            pixels, form, region = self._pixels(job.payload, [variant.resolution for variant in job.variants], large)
        except (ServiceError, LargeImage) as exc:
            return exc
        by_variant = dict(zip(job.variants, pixels, strict=True))
        return Decoded(by_variant, (time.monotonic() - began) * 1000, form, began, job.wish, region)

    def classify(self, decodings: Sequence[Decoding]) -> list[JobResult]:
        """Run each variant once, on all images that are decoded for it; what is not decoded stays as it is."""
        images = [one for one in decodings if isinstance(one, Decoded)]
        wanted = dict.fromkeys([variant for image in images for variant in image.pixels])
        outcomes = {variant: self._outcomes(variant, images) for variant in wanted}
        return [
            tuple([next(outcomes[variant]) for variant in one.pixels]) if isinstance(one, Decoded) else one
            for one in decodings
        ]

    def _outcomes(self, variant: Variant, images: Sequence[Decoded]) -> Iterator[Outcome]:
        """Run a variant now; yield what came of each image that wants it, in order."""
        asking = [image for image in images if variant in image.pixels]
        wishes = [image.wish for image in asking]
        began = time.monotonic()
        found, extras = _run(self._by_variant[variant].engine, [image.pixels[variant] for image in asking], wishes)
        inference_ms = (time.monotonic() - began) * 1000
        rows = zip(asking, found.probabilities, found.energies.tolist(), extras, strict=True)
        return (image.outcome(row, energy, inference_ms, began, more) for image, row, energy, more in rows)

    def _pixels(
        self, payload: Payload, resolutions: Sequence[int], large: bool
    ) -> tuple[list[Pixels], str, Region | None]:
        if isinstance(payload, np.ndarray):
            return [payload] * len(resolutions), TENSOR, None
        content = _content(payload)
        pixels, region = decode.located(content, resolutions=resolutions, max_pixels=self._max_pixels, large=large)
        return pixels, decode.kind_of(content[:256]), region

    def preview(self, payload: Payload, resolution: int, over: Overlay | None = None) -> bytes:
        """Return a PNG of what a network of this resolution is given for an image; `over` is drawn over it.

        Raises what `decode.decode` does.
        """
        if over is not None and over.whole and not isinstance(payload, np.ndarray):
            photo = decode.whole(_content(payload), longest=LONGEST, max_pixels=self._max_pixels)
            return _png(overlay(photo, over.evidence, decode.square(photo.shape[1], photo.shape[0])))
        (pixels,), _, _ = self._pixels(payload, [resolution], large=True)
        return _png(pixels if over is None else overlay(pixels, over.evidence, (0, 0, resolution, resolution)))


def _content(payload: bytes | str) -> bytes:
    return from_base64(payload) if isinstance(payload, str) else payload


def _png(pixels: Pixels) -> bytes:
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def _run(engine: Engine, pixels: Sequence[Pixels], wishes: Sequence[Wish]) -> tuple[Predictions, Iterable[Extras]]:
    """Run an engine; return its predictions, and what else is asked of each image."""
    if all(wish is NOTHING for wish in wishes):
        return engine.predict(pixels), repeat((None, None), len(pixels))
    observing = cast("FeatureEngine", engine)  # nothing is asked of a model that gives no features
    found, features = observing.observe(pixels)
    images = zip(wishes, found.probabilities, features, strict=True)
    return found, [_extras(observing, *image) for image in images]


def _extras(engine: FeatureEngine, wish: Wish, probabilities: Probabilities, features: Features) -> Extras:
    mean = embedding(features) if wish.embedding else None
    if not wish.classes:
        return mean, None
    classes = [index for index, _ in top_k(probabilities, wish.classes)] if wish.target is None else [wish.target]
    return mean, evidence(features, engine.head, classes)


def in_process(settings: Settings, load: Callable[[Settings], Model] = model.load) -> Local:
    """Load the models that the settings name, and test them.

    Raises `StartError`, whose message is one line, or `SelfTestFailed`.
    """
    keep_to_limit(settings)
    return Local([_tested(load(settings.serving(one)), settings) for one in settings.lineup], settings.max_pixels)


def _tested(loaded: Model, settings: Settings) -> Model:
    first_s = self_test(loaded.engine, loaded.variant.resolution, settings.max_batch_size)
    golden.check(loaded)
    return replace(loaded, first_s=first_s)
