"""From image files to probabilities: decode each, run the model once.

Here is what does it, for one batch after the other; `processes` and `threads` have it done beside an event loop, and
`inline` in its midst.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from typing import NamedTuple, Protocol

import numpy as np
from PIL import Image

from app.config import Settings
from app.engines.base import Pixels, Probabilities
from app.errors import ServiceError
from app.imaging import decode
from app.imaging.decode import LargeImage
from app.imaging.text import from_base64
from app.mobilenet.variants import Variant
from app.model import golden, model
from app.model.model import Model
from app.model.selftest import self_test

Payload = bytes | str | Pixels
"""An image file as it came, its bytes or those in base64; or the network's input itself."""
TENSOR = "tensor"
"""The format of pixels that came as they are."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The probabilities `[classes]` of one image, and how long its decoding and the run of its batch took.

    `format` is one of `decode.FORMATS` or `TENSOR`; `decode_began` and `inference_began` are times of `time.monotonic`.
    """

    probabilities: Probabilities
    decode_ms: float
    inference_ms: float
    format: str
    decode_began: float
    inference_began: float


Outcomes = list[Outcome | ServiceError | LargeImage]


class Comparison(NamedTuple):
    """One image file for several variants."""

    payload: Payload
    variants: tuple[Variant, ...]


Compared = list[tuple[Outcome, ...] | ServiceError | LargeImage]
"""For each comparison the outcomes of its variants, in their order; they share the `decode_ms`."""


class Pipeline(Protocol):
    """Models that take image files beside an event loop; the first is the one for who names none."""

    models: tuple[Model, ...]
    runs: int  # how many batches may run at once

    @property
    def fault(self) -> str | None:
        """Why it will never run again; None if all is well."""
        ...

    async def run(self, payloads: Sequence[Payload], large: bool = False, variant: Variant | None = None) -> Outcomes:
        """Classify image files together, as `Local` does."""
        ...

    async def compare(self, wanted: Sequence[Comparison], large: bool = False) -> Compared:
        """Classify image files in several variants, as `Local` does."""
        ...

    async def preview(self, payload: Payload, resolution: int) -> bytes:
        """Draw the network's input, as `Local` does."""
        ...

    async def close(self) -> None:
        """Let go of what it holds."""
        ...


class Decoded(NamedTuple):
    """One image at the resolutions that it is wanted in, and how long its decoding took."""

    pixels: list[Pixels]
    decode_ms: float
    format: str
    began: float

    def outcome(self, row: Probabilities, inference_ms: float, inference_began: float) -> Outcome:
        """Return what came of it in one model."""
        return Outcome(row, self.decode_ms, inference_ms, self.format, self.began, inference_began)


Input = Decoded | ServiceError | LargeImage


class Local:
    """Loaded models, the first for who names none; runs one batch at a time, and whoever asks waits."""

    def __init__(self, models: Sequence[Model], max_pixels: int) -> None:
        self.models = tuple(models)
        self._by_variant = {model.variant: model for model in models}
        self._max_pixels = max_pixels

    def model(self, variant: Variant | None = None) -> Model:
        """Return the model of a variant, or the first."""
        return self.models[0] if variant is None else self._by_variant[variant]

    def with_models(self, models: Sequence[Model]) -> "Local":
        """Return another pipeline for images of the same sort."""
        return Local(models, self._max_pixels)

    def run(self, payloads: Sequence[Payload], large: bool = False, variant: Variant | None = None) -> Outcomes:
        """Classify image files together in one variant, in order; each has its own outcome.

        Without `large` an image of more than 12 million pixels is not decoded: its outcome is `LargeImage`. Whatever
        else is wrong with the model or with us is raised.
        """
        variants = (self.model(variant).variant,)
        return self.answer([self.decode(payload, variants, large) for payload in payloads], variant)

    def answer(self, inputs: Sequence[Input], variant: Variant | None = None) -> Outcomes:
        """Classify what was decoded for this variant."""
        chosen = self.model(variant)
        rows, *times = _predict(chosen, [found.pixels[0] for found in inputs if isinstance(found, Decoded)])
        return [found.outcome(next(rows), *times) if isinstance(found, Decoded) else found for found in inputs]

    def compare(self, wanted: Sequence[Comparison], large: bool = False) -> Compared:
        """Decode each image once and classify it in all of its variants; otherwise as `run`."""
        return self.answer_each(wanted, [self.decode(*one, large) for one in wanted])

    def answer_each(self, wanted: Sequence[Comparison], decoded: Sequence[Input]) -> Compared:
        """Classify what was decoded for these comparisons."""
        answers: list[dict[Variant, Outcome]] = [{} for _ in wanted]
        for one in self.models:
            self._answer(one, wanted, decoded, answers)
        return [
            tuple(map(mine.__getitem__, variants)) if isinstance(found, Decoded) else found
            for found, (_, variants), mine in zip(decoded, wanted, answers, strict=True)
        ]

    def _answer(
        self,
        chosen: Model,
        wanted: Sequence[Comparison],
        decoded: Sequence[Input],
        answers: Sequence[dict[Variant, Outcome]],
    ) -> None:
        asking = [
            (found, found.pixels[variants.index(chosen.variant)], mine)
            for found, (_, variants), mine in zip(decoded, wanted, answers, strict=True)
            if isinstance(found, Decoded) and chosen.variant in variants
        ]
        rows, *times = _predict(chosen, [pixels for _, pixels, _ in asking])
        for (found, _, mine), row in zip(asking, rows, strict=True):
            mine[chosen.variant] = found.outcome(row, *times)

    def decode(self, payload: Payload, variants: Sequence[Variant], large: bool = False) -> Input:
        """Return the image as these variants need it, or what is wrong with it; on any thread."""
        began = time.monotonic()
        try:
            pixels, form = self._pixels(payload, [variant.resolution for variant in variants], large)
        except (ServiceError, LargeImage) as exc:
            return exc
        return Decoded(pixels, (time.monotonic() - began) * 1000, form, began)

    def _pixels(self, payload: Payload, resolutions: Sequence[int], large: bool) -> tuple[list[Pixels], str]:
        if isinstance(payload, np.ndarray):
            return [payload] * len(resolutions), TENSOR
        content = from_base64(payload) if isinstance(payload, str) else payload
        pixels = decode.decode_each(content, resolutions=resolutions, max_pixels=self._max_pixels, large=large)
        return pixels, decode.kind_of(content[:16])

    def preview(self, payload: Payload, resolution: int) -> bytes:
        """Return an image file as a network of this resolution takes it, a PNG, or raise what `decode.decode` does."""
        buffer = BytesIO()
        (pixels,), _ = self._pixels(payload, [resolution], large=True)
        Image.fromarray(pixels).save(buffer, "PNG")
        return buffer.getvalue()


def _predict(chosen: Model, pixels: Sequence[Pixels]) -> tuple[Iterator[Probabilities], float, float]:
    """Return the rows of the answer, none without images, how many milliseconds they took, and when that began."""
    began = time.monotonic()
    rows = iter(chosen.engine.predict(pixels) if pixels else ())
    return rows, (time.monotonic() - began) * 1000, began


def in_process(settings: Settings, load: Callable[[Settings], Model] = model.load) -> Local:
    """Load the models and test them. Raises `StartError` in one line, or `SelfTestFailed`."""
    return Local([_tested(load(settings.serving(one)), settings) for one in settings.lineup], settings.max_pixels)


def _tested(loaded: Model, settings: Settings) -> Model:
    first_s = self_test(loaded.engine, loaded.variant.resolution, settings.max_batch_size)
    golden.check(loaded)
    return replace(loaded, first_s=first_s)
