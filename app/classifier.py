"""Classifies images with one model: decode in a bounded pool, batch, run. The path of an image, and its state."""

import asyncio
import binascii
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from app import images
from app.batcher import Batcher, Slot
from app.config import Settings
from app.engines.engine import Engine, Pixels, Probabilities
from app.errors import DeadlineExceeded, InternalError, ServiceError, UndecodableImage
from app.labels import Labels
from app.mobilenet.cost import Cost, cost
from app.mobilenet.variants import Variant

logger = logging.getLogger(__name__)

STALLED_AT_LEAST_S = 5.0
"""A run of the model hangs after twice the deadline of requests, and not before this."""

Payload = bytes | str
"""An image file as it came: its bytes, or those in base64."""


@dataclass(frozen=True, slots=True)
class Model:
    """A loaded model and what there is to say of it."""

    engine: Engine
    variant: Variant
    labels: Labels
    weights: str
    weights_sha256: str
    published: bool

    @property
    def cost(self) -> Cost:
        """What one image costs."""
        return cost(self.variant, self.engine.classes)


@dataclass(frozen=True, slots=True)
class Classified:
    """The probabilities `[classes]` of one image, where its time went, and how many images ran with it."""

    probabilities: Probabilities
    decode_ms: float
    queue_ms: float
    inference_ms: float
    batch_size: int


class Classifier:
    """Takes image files, gives probabilities: every image has its own result or its own error."""

    def __init__(self, model: Model, settings: Settings, on_drop: Callable[[str], None]) -> None:
        self.model = model
        self._on_drop = on_drop
        self.cost = model.cost
        self._max_pixels = settings.max_pixels
        self._decoders = ThreadPoolExecutor(settings.threads, thread_name_prefix="decoder")
        # What a large image takes for a moment must not be multiplied, and nobody small waits for its turn.
        self._large_decoder = ThreadPoolExecutor(1, thread_name_prefix="large-decoder")
        self._batcher: Batcher[Pixels, Probabilities] = Batcher(
            model.engine.predict,
            max_batch_size=settings.max_batch_size,
            max_wait_ms=settings.max_wait_ms,
            max_queue=settings.max_queue,
            stalled_after_s=max(STALLED_AT_LEAST_S, 2 * settings.request_timeout_ms / 1000),
        )

    @property
    def fault(self) -> str | None:
        """Why only a restart helps; None if all is well."""
        if not self._batcher.alive:
            return "the thread that runs the model died"
        return "the model hangs" if self._batcher.stalled else None

    @property
    def admitted(self) -> int:
        """How many images are under way."""
        return self._batcher.admitted

    def check_room(self) -> None:
        """Raise `QueueFull` or `Draining` if no image would be admitted now."""
        self._batcher.check_room()

    async def classify(self, payloads: Sequence[Payload], deadline: float) -> list[Classified | ServiceError]:
        """Classify the images of one request, in order; `deadline` is a time of `time.monotonic`.

        Raises `QueueFull` or `Draining` before any work; whatever happens to one image is its own result.
        """
        with self._batcher.admit(len(payloads)) as slots:
            if len(payloads) == 1:
                return [await self._settle(slots[0], payloads[0], deadline)]
            pairs = zip(slots, payloads, strict=True)
            return await asyncio.gather(*(self._settle(slot, data, deadline) for slot, data in pairs))

    async def _settle(
        self, slot: Slot[Pixels, Probabilities], data: Payload, deadline: float
    ) -> Classified | ServiceError:
        try:
            async with asyncio.timeout(deadline - time.monotonic()):
                return await self._classify(slot, data, deadline)
        except TimeoutError:
            return self._late(slot)
        except DeadlineExceeded as exc:
            self._on_drop("deadline")
            return exc
        except asyncio.CancelledError:
            if slot.withdraw():
                self._on_drop("departed")
            raise
        except ServiceError as exc:
            return exc
        except Exception:
            logger.exception("an image failed for a reason that is ours")
            return InternalError("the image could not be classified")

    def _late(self, slot: Slot[Pixels, Probabilities]) -> DeadlineExceeded:
        if slot.withdraw():
            self._on_drop("deadline")
            return DeadlineExceeded("the deadline passed before the image was run, and it was not run")
        return DeadlineExceeded("the deadline passed while the image was run")

    async def _classify(self, slot: Slot[Pixels, Probabilities], data: Payload, deadline: float) -> Classified:
        started = time.monotonic()
        pixels = await self._decoded(slot, data)
        decoded = time.monotonic()
        answer = await slot.submit(pixels, deadline=deadline)
        decode_ms = (decoded - started) * 1000
        return Classified(answer.result, decode_ms, answer.queue_ms, answer.run_ms, answer.batch_size)

    async def _decoded(self, slot: Slot[Pixels, Probabilities], data: Payload) -> Pixels:
        try:
            return await slot.call(self._decoders, self._decode, data, large=False)
        except images.LargeImage:
            return await slot.call(self._large_decoder, self._decode, data, large=True)

    def _decode(self, data: Payload, large: bool) -> Pixels:
        content = _from_base64(data) if isinstance(data, str) else data
        resolution = self.model.variant.resolution
        return images.decode(content, resolution=resolution, max_pixels=self._max_pixels, large=large)

    async def drain(self) -> None:
        """Finish what was admitted, admit no more, end the threads."""
        await self._batcher.drain()
        self._decoders.shutdown()
        self._large_decoder.shutdown()


def _from_base64(text: str) -> bytes:
    # Browsers make data URLs of files; what is before the comma says nothing that we would trust.
    encoded = text.partition(",")[2] if text.startswith("data:") else text
    try:
        return binascii.a2b_base64(encoded, strict_mode=True)
    except ValueError as exc:
        raise UndecodableImage("the image is no valid base64") from exc
