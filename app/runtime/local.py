"""The pipeline of one process: decode every image of a batch, then run on it each model that is asked for.

It does one batch after the other, and whoever calls it waits; `pipeline` has what it is asked and answers.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from io import BytesIO
from itertools import repeat
from typing import NamedTuple, cast

import numpy as np
from PIL import Image

from app.config import Settings
from app.engines.base import Engine, FeatureEngine, Features, Pixels, Predictions, Probabilities
from app.engines.tflite.converter import Converter
from app.errors import ServiceError
from app.imaging import decode
from app.imaging.bounds import LargeImage
from app.imaging.formats import kind_of
from app.imaging.overlay import overlay
from app.imaging.region import Region
from app.imaging.text import from_base64
from app.mobilenet.variants import Variant
from app.model import golden, loading
from app.model.evidence import Embedding, Evidence, embedding, evidence
from app.model.labels import top_k
from app.model.model import Model
from app.model.selftest import self_test
from app.runtime.memory import keep_to_limit
from app.runtime.pipeline import LONGEST, NOTHING, TENSOR, Job, JobResult, Outcome, Overlay, Payload, Wish

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

        Without `large`, an image whose decoding takes more than 144 MB is not decoded and its result is `LargeImage`.
        Raises whatever else goes wrong: that is a fault of the model or of this program and not of an image.
        """
        return self.classify([self.decode(job, large) for job in jobs])

    def decode(self, job: Job, large: bool = False) -> Decoding:
        """Return the pixels that the variants of a job need, or what is wrong with the image; on any thread."""
        began = time.monotonic()
        try:
            pixels, form, region = self._pixels(job.payload, [variant.resolution for variant in job.variants], large)
        except (ServiceError, LargeImage) as exc:
            return type(exc)(*exc.args)  # without the traceback, whose frames have all images of the batch
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
        return pixels, kind_of(content[:256]), region

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


def in_process(settings: Settings, load: Callable[[Settings], Model] | None = None) -> Local:
    """Load the models that the settings name, and test them; one process compiles all that need it.

    Raises `StartError`, whose message is one line, or `SelfTestFailed`.
    """
    keep_to_limit(settings)
    with Converter() as converter:
        load = load or partial(loading.load, converter=converter)
        models = [_tested(load(settings.serving(one)), settings) for one in settings.lineup]
    return Local(models, settings.max_pixels)


def _tested(loaded: Model, settings: Settings) -> Model:
    first_s = self_test(loaded.engine, loaded.variant.resolution, settings.max_batch_size)
    golden.check(loaded)
    return replace(loaded, first_s=first_s)
