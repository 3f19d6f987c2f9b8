"""Classifies images with one model: decode in a bounded pool, batch, run. The path of an image, and its state."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from app.batcher import Batcher, Slot
from app.config import Settings
from app.engines.engine import Probabilities
from app.errors import DeadlineExceeded, InternalError, ServiceError
from app.images import LargeImage
from app.pipeline import Outcome, Payload, Pipeline

logger = logging.getLogger(__name__)

STALLED_AT_LEAST_S = 5.0
"""A run of the model hangs after twice the deadline of requests, and not before this."""

Image = Slot[Payload, Outcome | ServiceError | LargeImage]
"""The place of one image in the batcher."""


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

    def __init__(self, pipeline: Pipeline, settings: Settings, on_drop: Callable[[str], None]) -> None:
        self.model = pipeline.model
        self.cost = self.model.cost
        self._pipeline = pipeline
        self._on_drop = on_drop
        # What a large image takes for a moment must not be multiplied, and nobody small waits for its turn.
        self._one_at_a_time = ThreadPoolExecutor(1, thread_name_prefix="large")
        self._batcher: Batcher[Payload, Outcome | ServiceError | LargeImage] = Batcher(
            pipeline.run,
            max_batch_size=settings.max_batch_size,
            max_wait_ms=settings.max_wait_ms,
            max_queue=settings.max_queue,
            threads=pipeline.runs,
            stalled_after_s=max(STALLED_AT_LEAST_S, 2 * settings.request_timeout_ms / 1000),
        )

    @property
    def fault(self) -> str | None:
        """Why only a restart helps; None if all is well."""
        if not self._batcher.alive:
            return "the thread that runs the model died"
        return "the model hangs" if self._batcher.stalled else self._pipeline.fault

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

    async def _settle(self, slot: Image, data: Payload, deadline: float) -> Classified | ServiceError:
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

    def _late(self, slot: Image) -> DeadlineExceeded:
        if slot.withdraw():
            self._on_drop("deadline")
            return DeadlineExceeded("the deadline passed before the image was run, and it was not run")
        return DeadlineExceeded("the deadline passed while the image was run")

    async def _classify(self, slot: Image, data: Payload, deadline: float) -> Classified | ServiceError:
        started = time.monotonic()
        answer = await slot.submit(data, deadline=deadline)
        outcome = answer.result
        if isinstance(outcome, LargeImage):
            (outcome,) = await slot.call(self._one_at_a_time, self._pipeline.run, [data], large=True)
        if not isinstance(outcome, Outcome):
            return InternalError("the image is too large") if isinstance(outcome, LargeImage) else outcome
        queue_ms = (time.monotonic() - started) * 1000 - outcome.decode_ms - outcome.inference_ms
        return Classified(
            outcome.probabilities, outcome.decode_ms, max(0.0, queue_ms), outcome.inference_ms, answer.batch_size
        )

    def preview(self, payload: Payload) -> bytes:
        """Return the network's input for an image file, as a PNG; takes its time. Raises what `images.decode` does."""
        return self._pipeline.preview(payload)

    async def drain(self) -> None:
        """Finish what was admitted, admit no more, end the threads and the pipeline."""
        await self._batcher.drain()
        self._one_at_a_time.shutdown()
        await asyncio.to_thread(self._pipeline.close)
