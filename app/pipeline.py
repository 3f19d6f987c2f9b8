"""From image files to probabilities: decode each, run the model once. In this process; `processes` has it in others."""

import binascii
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Protocol

import numpy as np
from PIL import Image

from app import golden, images, model
from app.config import Settings
from app.engines.engine import Pixels, Probabilities
from app.engines.selftest import self_test
from app.errors import ServiceError, UndecodableImage
from app.images import LargeImage
from app.model import Model

Payload = bytes | str | Pixels
"""An image file as it came, its bytes or those in base64; or the network's input itself."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The probabilities `[classes]` of one image, and how long its decoding and the run of its batch took."""

    probabilities: Probabilities
    decode_ms: float
    inference_ms: float


Outcomes = list[Outcome | ServiceError | LargeImage]


class Pipeline(Protocol):
    """A model that takes image files."""

    model: Model
    runs: int  # how many batches may run at once

    @property
    def fault(self) -> str | None:
        """Why it will never run again; None if all is well."""
        ...

    def run(self, payloads: Sequence[Payload], large: bool = False) -> Outcomes:
        """Classify image files together, in order; each has its own outcome.

        Without `large` an image of more than 12 million pixels is not decoded: its outcome is `LargeImage`. Whatever
        else is wrong with the model or with us is raised.
        """
        ...

    def preview(self, payload: Payload) -> bytes:
        """Return the network's input for an image file, as a PNG. Raises what `images.decode` raises."""
        ...

    def close(self) -> None:
        """Let go of what it holds."""
        ...


class Local:
    """The pipeline in this process, for one batch at a time."""

    runs = 1
    fault: str | None = None

    def __init__(self, model: Model, max_pixels: int) -> None:
        self.model = model
        self._max_pixels = max_pixels

    def with_model(self, model: Model) -> "Local":
        """Return another pipeline for images of the same sort."""
        return Local(model, self._max_pixels)

    def run(self, payloads: Sequence[Payload], large: bool = False) -> Outcomes:
        """Classify, as `Pipeline` says."""
        decoded = [self._decode(payload, large) for payload in payloads]
        good = [found[0] for found in decoded if isinstance(found, tuple)]
        started = time.perf_counter()
        rows = iter(self.model.engine.predict(good) if good else ())
        inference_ms = (time.perf_counter() - started) * 1000
        return [Outcome(next(rows), found[1], inference_ms) if isinstance(found, tuple) else found for found in decoded]

    def _decode(self, payload: Payload, large: bool) -> tuple[Pixels, float] | ServiceError | LargeImage:
        started = time.perf_counter()
        try:
            pixels = self._pixels(payload, large)
        except (ServiceError, LargeImage) as exc:
            return exc
        return pixels, (time.perf_counter() - started) * 1000

    def _pixels(self, payload: Payload, large: bool) -> Pixels:
        if isinstance(payload, np.ndarray):
            return payload
        content = _from_base64(payload) if isinstance(payload, str) else payload
        resolution = self.model.variant.resolution
        return images.decode(content, resolution=resolution, max_pixels=self._max_pixels, large=large)

    def preview(self, payload: Payload) -> bytes:
        """Return the network's input, as `Pipeline` says."""
        buffer = BytesIO()
        Image.fromarray(self._pixels(payload, large=True)).save(buffer, "PNG")
        return buffer.getvalue()

    def close(self) -> None:
        """Nothing is held."""


def _from_base64(text: str) -> bytes:
    # Browsers make data URLs of files; what is before the comma says nothing that we would trust.
    encoded = text.partition(",")[2] if text.startswith("data:") else text
    try:
        return binascii.a2b_base64(encoded, strict_mode=True)
    except ValueError as exc:
        raise UndecodableImage("the image is no valid base64") from exc


def in_process(settings: Settings, load: Callable[[Settings], Model] = model.load) -> Local:
    """Load the model and test it. Raises `StartError` in one line, or `SelfTestFailed`."""
    loaded = load(settings)
    self_test(loaded.engine, loaded.variant.resolution, settings.max_batch_size)
    golden.check(loaded)
    return Local(loaded, settings.max_pixels)
