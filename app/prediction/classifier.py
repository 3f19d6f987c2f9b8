"""Classifies images: admit, batch, have them decoded and run. The path of an image, and its state.

Every loaded variant has a queue of its own, and comparisons have one; the time of the pipeline is shared among them.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from math import inf
from typing import NamedTuple, Protocol, TypeVar

from app.config import Settings
from app.errors import DeadlineExceeded, InternalError, QueueFull, ServiceError
from app.imaging.decode import LargeImage
from app.mobilenet.variants import Variant
from app.model.model import Model
from app.prediction.batcher import Batcher, Slot
from app.prediction.budget import Candidate
from app.prediction.queue import Completed, Queue
from app.prediction.result import Classification, Result, assemble, combine
from app.prediction.selection import DEFAULT, Cascade, Plan, SideBySide, Single
from app.runtime.pipeline import Job, JobResult, Outcome, Payload, Pipeline

logger = logging.getLogger(__name__)

T = TypeVar("T")

Task = tuple[Job, object]
"""What is to be done with an image, and on whose behalf."""
Place = Slot[Task, JobResult]
"""The place of one image in the batcher."""
Ran = tuple[Sequence[Outcome], int]
"""What one or more variants made of an image, and how many images ran with it."""


class Images(NamedTuple):
    """The images of one request, until when (`time.monotonic`) they are wanted, and on whose behalf."""

    payloads: Sequence[Payload]
    deadline: float
    owner: object


@dataclass(frozen=True, slots=True)
class Run:
    """One batch: how many images ran in each variant, from when to when (`time.monotonic`), and on whose behalf."""

    images: Mapping[Variant, int]
    began: float
    ended: float
    owners: Sequence[object]


class Watcher(Protocol):
    """Is told what becomes of the images."""

    def admitted(self, change: int) -> None:
        """Hear of images that were admitted or, below 0, have left."""

    def dropped(self, reason: str) -> None:
        """Hear of an image that was admitted and not run: `departed` or `deadline`."""

    def settled(self, found: Result, variant: str) -> None:
        """Hear of an image that has its answer in a variant."""


class Classifier:
    """Takes image files, gives probabilities: every image has its own result or its own error."""

    def __init__(
        self, pipeline: Pipeline, settings: Settings, watcher: Watcher, on_run: Sequence[Callable[[Run], None]] = ()
    ) -> None:
        self.model = pipeline.models[0]
        self.models = {model.variant: model for model in pipeline.models}
        self._pipeline = pipeline
        self._watcher = watcher
        self._on_run = on_run
        # One image over 12 megapixels at a time, to bound memory; small ones do not wait for it.
        self._large: Batcher[Task, JobResult] = Batcher(
            partial(self._run, large=True),
            max_batch_size=1,
            max_queue=settings.max_queue * (1 + len(self.models)),
            stalled_after_s=settings.stalled_after_s,
        )
        self._batcher: Batcher[Task, JobResult] = Batcher(
            self._run,
            max_batch_size=settings.max_batch_size,
            max_wait_ms=settings.max_wait_ms,
            max_queue=settings.max_queue,
            runs=pipeline.runs,
            stalled_after_s=settings.stalled_after_s,
            on_admit=watcher.admitted,
        )
        self._comparisons = self._batcher.queue
        self._queues = {variant: self._batcher.add_queue(model.first_s) for variant, model in self.models.items()}

    @property
    def fault(self) -> str | None:
        """Why only a restart helps, such as a run that hangs; None if all is well."""
        return "the model hangs" if self._batcher.stalled or self._large.stalled else self._pipeline.fault

    def candidates(self) -> list[Candidate]:
        """Return what is known of each loaded variant, and how long an answer of it would take now."""
        return [
            Candidate(variant, model.cost.macs, model.top1, 1000 * self._batcher.expected_s(self._queues[variant]))
            for variant, model in self.models.items()
        ]

    def check_room(self, plan: Plan = DEFAULT) -> None:
        """Raise `QueueFull` or `Draining` if no image would be admitted now."""
        match plan:
            case Single(variants):
                self._first_with_room(variants, self._batcher.check_room)
            case SideBySide():
                self._batcher.check_room(self._comparisons)
            case Cascade(stages):
                for stage in stages:
                    self._batcher.check_room(self._queues[stage])

    async def _run(self, tasks: Sequence[Task], large: bool = False) -> list[JobResult]:
        jobs, owners = [job for job, _ in tasks], [owner for _, owner in tasks]
        began = time.monotonic()
        results = await self._pipeline.run(jobs, large)
        ended, images = time.monotonic(), Counter[Variant]()
        for job, result in zip(jobs, results, strict=True):
            if isinstance(result, tuple):
                images.update(job.variants)
        for tell in self._on_run:
            tell(Run(images, began, ended, owners))
        return results

    async def classify(
        self, payloads: Sequence[Payload], plan: Plan = DEFAULT, deadline: float = inf, owner: object = None
    ) -> list[Result]:
        """Classify the images of one request by a plan, in order; `deadline` is a time of `time.monotonic`.

        Raises `QueueFull` or `Draining` before any work; whatever happens to one image is its own result. `owner` is
        whatever the `Run` shall say of whose images they are.
        """
        images = Images(payloads, deadline, owner)
        match plan:
            case Single(variants):
                return await self._single(images, variants)
            case SideBySide(variants, best):
                return await self._side_by_side(images, variants, best)
            case Cascade(stages, threshold):
                return await self._cascade(images, stages, threshold)

    async def _single(self, images: Images, variants: Sequence[Variant]) -> list[Result]:
        variant, admission = self._first_with_room(variants, partial(self._batcher.admit, len(images.payloads)))
        with admission as slots:
            return await self._settle_all(slots, images, (variant,))

    async def _side_by_side(self, images: Images, variants: tuple[Variant, ...], best: Variant) -> list[Result]:
        with self._batcher.admit(len(images.payloads), self._comparisons) as slots:
            found = await self._settle_all(slots, images, variants)
        at = variants.index(best)
        return [combine(one.runs or (one,), at) if isinstance(one, Classification) else one for one in found]

    async def _cascade(self, images: Images, stages: Sequence[Variant], threshold: float) -> list[Result]:
        # There must be room in the queues of all stages, since no stage is known to be needless.
        with ExitStack() as stack:
            admit = partial(self._batcher.admit, len(images.payloads))
            rows = [stack.enter_context(admit(self._queues[stage])) for stage in stages]
            places = zip(images.payloads, zip(*rows, strict=True), strict=True)
            return await _all(
                [
                    self._descend(zip(slots, stages, strict=True), payload, images, threshold)
                    for payload, slots in places
                ]
            )

    async def _descend(
        self, stages: Iterable[tuple[Place, Variant]], payload: Payload, images: Images, threshold: float
    ) -> Result:
        runs: list[Classification] = []
        for slot, variant in stages:
            found = await self._settle(slot, Job(payload, (variant,)), [self.models[variant]], images)
            if isinstance(found, ServiceError):
                return found
            runs.append(found)
            if found.probabilities.max() >= threshold:
                break
        return combine(runs, -1)

    def _first_with_room(
        self, variants: Sequence[Variant], take: Callable[[Queue[Task, JobResult]], T]
    ) -> tuple[Variant, T]:
        chosen, *others = variants or (self.model.variant,)
        try:
            return chosen, take(self._queues[chosen])
        except QueueFull:
            for other in others:
                with suppress(QueueFull):
                    return other, take(self._queues[other])
            raise

    async def _settle_all(self, slots: Sequence[Place], images: Images, variants: tuple[Variant, ...]) -> list[Result]:
        models = [self.models[variant] for variant in variants]
        places = zip(slots, images.payloads, strict=True)
        return await _all([self._settle(slot, Job(payload, variants), models, images) for slot, payload in places])

    async def _settle(self, slot: Place, job: Job, models: Sequence[Model], images: Images) -> Result:
        queued = time.monotonic()
        ran = await self._ran(slot, (job, images.owner), images.deadline)
        found = ran if isinstance(ran, ServiceError) else assemble(models, *ran, queued)
        self._watcher.settled(found, models[0].variant.name)
        return found

    async def _ran(self, slot: Place, task: Task, deadline: float) -> Ran | ServiceError:
        try:
            answer = await self._submit(slot, task, deadline)
            result = answer.result
            if isinstance(result, LargeImage):
                with self._large.admit() as (place,):
                    result = (await self._submit(place, task, deadline)).result
        except ServiceError as exc:
            return exc
        except Exception:
            logger.exception("an image failed for a reason that is ours")
            return InternalError("the image could not be classified")
        if isinstance(result, LargeImage):
            return InternalError("the image is too large")
        return result if isinstance(result, ServiceError) else (result, answer.batch_size)

    async def _submit(self, slot: Place, task: Task, deadline: float) -> Completed[JobResult]:
        try:
            return await slot.submit(task, deadline=deadline)
        except (DeadlineExceeded, asyncio.CancelledError) as exc:
            if slot.withdraw():
                self._watcher.dropped("deadline" if isinstance(exc, DeadlineExceeded) else "departed")
            raise

    async def preview(self, payload: Payload, resolution: int) -> bytes:
        """Return an image file as a network of this resolution takes it, a PNG, or raise what `images.decode` does."""
        return await self._pipeline.preview(payload, resolution)

    async def drain(self) -> None:
        """Finish what was admitted except for what hangs, admit no more, and end the pipeline."""
        await self._batcher.drain()
        await self._large.drain()  # only now: what was admitted above may turn out to be large
        await self._pipeline.close()


async def _all(waiting: Sequence[Awaitable[Result]]) -> list[Result]:
    return [await waiting[0]] if len(waiting) == 1 else await asyncio.gather(*waiting)


MAX_QUEUE = 16
"""Previews that may wait; they are drawn one after the other, so that they never starve the predictions."""

Draw = Callable[[bytes], Awaitable[bytes]]
"""Makes the network's input, as a PNG, of an image file."""


class Previewer:
    """Draws previews, one at a time."""

    def __init__(self, stalled_after_s: float) -> None:
        """One preview that takes longer than this is taken to hang."""
        self._batcher: Batcher[tuple[Draw, bytes], bytes] = Batcher(
            _draw_all, max_batch_size=1, max_queue=MAX_QUEUE, stalled_after_s=stalled_after_s
        )

    @property
    def fault(self) -> str | None:
        """Why only a restart helps; None if all is well."""
        return "a preview hangs" if self._batcher.stalled else None

    def check_room(self) -> None:
        """Raise `QueueFull` or `Draining` if no image would be admitted now."""
        self._batcher.check_room()

    async def preview(self, draw: Draw, content: bytes, deadline: float) -> Completed[bytes]:
        """Return the PNG of an image file; `deadline` is of `time.monotonic`.

        Raises `QueueFull`, `Draining`, `DeadlineExceeded` for one that is not drawn by then, or what `draw` raises.
        """
        with self._batcher.admit() as (slot,):
            return await slot.submit((draw, content), deadline=deadline)

    async def drain(self) -> None:
        """Finish what was admitted except for what hangs, and admit no more."""
        await self._batcher.drain()


async def _draw_all(wanted: Sequence[tuple[Draw, bytes]]) -> list[bytes]:
    return [await draw(content) for draw, content in wanted]
