"""Classifies the images of requests: takes room for them in queues, and has a pipeline run them in batches.

Every loaded variant has a queue, and images for several variants side by side have one; these queues share the runs of
the pipeline. An image that turns out to be large is queued once more, beside them, and so is one that is drawn: of all
these, one is decoded at a time.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from math import inf
from typing import Any, NamedTuple, Protocol, Self, TypeVar

from app.config import Settings
from app.errors import DeadlineExceeded, InternalError, QueueFull, ServiceError
from app.imaging.bounds import LargeImage
from app.mobilenet.variants import Variant
from app.model.model import Model
from app.prediction.batcher import STOP_POLL_S, Batcher, Slot
from app.prediction.budget import Candidate
from app.prediction.queue import Completed, Queue
from app.prediction.result import Classification, Result, assemble, combine
from app.prediction.run import Run, Task, run
from app.prediction.selection import DEFAULT, Cascade, Plan, SideBySide, Single
from app.runtime.faults import WorkerFailed
from app.runtime.pipeline import NOTHING, Job, JobResult, Outcome, Overlay, Payload, Pipeline, Wish

logger = logging.getLogger(__name__)

T = TypeVar("T")
R = TypeVar("R")

MAX_PREVIEWS = 16
"""How many previews may wait. One is drawn at a time, so that previews leave the workers to predictions."""

Place = Slot[Task, JobResult]
"""Room for one image in a queue."""
Work = Callable[[], Awaitable[Any]]
"""Decodes one image, for whatever purpose."""
Ran = tuple[Sequence[Outcome], int]
"""The outcome of an image in each of its variants, and how many images its batch had."""


class Images(NamedTuple):
    """The images of one request, the time of `time.monotonic` until which it waits, their owner, and what is asked."""

    payloads: Sequence[Payload]
    deadline: float
    owner: object
    wish: Wish


class Watcher(Protocol):
    """Is told what becomes of images, for metrics."""

    def admitted(self, change: int) -> None:
        """Hear how many images were admitted; a negative number have ended."""

    def dropped(self, reason: str) -> None:
        """Hear of an image that was admitted and will not be run: its client `departed`, or its `deadline` passed."""

    def settled(self, result: Result, variant: str) -> None:
        """Hear of the result of an image, and of the name of the variant that it was queued for."""


class Classifier:
    """Classifies images by the loaded models; each image has a result of its own, which may be an error."""

    def __init__(
        self, pipeline: Pipeline, settings: Settings, watcher: Watcher, on_run: Sequence[Callable[[Run], None]] = ()
    ) -> None:
        """`on_run` is called after every batch."""
        self.model = pipeline.models[0]
        self.models = {model.variant: model for model in pipeline.models}
        self._pipeline = pipeline
        self._watcher = watcher
        self._users = 0
        self._unused = asyncio.Event()
        # Not a method of this object: without a circle of references, models leave the memory once nobody uses them.
        run_jobs = partial(run, pipeline, on_run)
        self._run_large = partial(run, pipeline, on_run, large=True)
        # To bound memory, one at a time is decoded that takes more than 144 MB or is drawn; small ones do not wait.
        self._beside: Batcher[Work, Any] = Batcher(
            _done,
            max_batch_size=1,
            max_queue=settings.max_queue * (1 + len(self.models)),
            stalled_after_s=settings.stalled_after_s,
        )
        self._previews = self._beside.add_queue(max_queue=MAX_PREVIEWS)
        self._batcher: Batcher[Task, JobResult] = Batcher(
            run_jobs,
            max_batch_size=settings.max_batch_size,
            max_wait_ms=settings.max_wait_ms,
            max_queue=settings.max_queue,
            runs=pipeline.runs,
            stalled_after_s=settings.stalled_after_s,
            on_admit=watcher.admitted,
        )
        self._comparisons = self._batcher.queue
        self._queues = {variant: self._batcher.add_queue(model.first_s) for variant, model in self.models.items()}

    def __enter__(self) -> Self:
        """Keep the models while a request uses them, which may not have admitted an image yet."""
        self._users += 1
        return self

    def __exit__(self, *_: object) -> None:
        self._users -= 1
        self._unused.set()

    @property
    def fault(self) -> str | None:
        """Why only a restart helps, for example because a run hangs; None if all is well."""
        if (stalled := self._batcher.stalled or self._beside.stalled) is None:
            return self._pipeline.fault
        return "a preview hangs" if stalled is self._previews else "the model hangs"

    def candidates(self) -> list[Candidate]:
        """Return each loaded variant with its cost, its accuracy, and how long a result of it would take now."""
        return [
            Candidate(variant, model.cost.macs, model.top1, 1000 * self._batcher.expected_s(self._queues[variant]))
            for variant, model in self.models.items()
        ]

    def models_of(self, plan: Plan) -> list[Model]:
        """Return the models that may run on the images of a request with this plan."""
        match plan:
            case Single(variants):
                return [self.models[variant] for variant in variants or (self.model.variant,)]
            case SideBySide(variants) | Cascade(variants):
                return [self.models[variant] for variant in variants]

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

    async def classify(
        self,
        payloads: Sequence[Payload],
        plan: Plan = DEFAULT,
        deadline: float = inf,
        owner: object = None,
        wish: Wish = NOTHING,
    ) -> list[Result]:
        """Classify the images of one request as its plan says; the results are in the order of the images.

        `deadline` is a time of `time.monotonic`, and `owner` is passed on to `on_run`. What the `wish` asks for beside
        the probabilities, each model of the plan must give (`Model.channels`). Raises `QueueFull` or `Draining`
        before any work is done. Whatever is wrong with one image, a deadline that passed included, is its result.
        """
        images = Images(payloads, deadline, owner, wish)
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
            results = await self._settle_all(slots, images, variants)
        at = variants.index(best)
        return [combine(one.runs or (one,), at) if isinstance(one, Classification) else one for one in results]

    async def _cascade(self, images: Images, stages: Sequence[Variant], threshold: float) -> list[Result]:
        # Every stage may be needed, so there must be room in the queues of all of them.
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
            result = await self._settle(slot, Job(payload, (variant,), images.wish), [self.models[variant]], images)
            if isinstance(result, ServiceError):
                return result
            runs.append(result)
            if result.probabilities.max() >= threshold:
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
        return await _all(
            [self._settle(slot, Job(payload, variants, images.wish), models, images) for slot, payload in places]
        )

    async def _settle(self, slot: Place, job: Job, models: Sequence[Model], images: Images) -> Result:
        queued = time.monotonic()
        ran = await self._ran(slot, (job, images.owner), images.deadline)
        result = ran if isinstance(ran, ServiceError) else assemble(models, *ran, queued)
        self._watcher.settled(result, models[0].variant.name)
        return result

    async def _ran(self, slot: Place, task: Task, deadline: float) -> Ran | ServiceError:
        try:
            completed = await self._submit(slot, task, deadline)
            result = completed.result
            if isinstance(result, LargeImage):
                with self._beside.admit() as (place,):
                    work: Work = partial(self._run_large, [task])
                    (result,) = (await self._submit(place, work, deadline)).result
        except ServiceError as exc:
            return exc
        except WorkerFailed as exc:  # the worker has said where
            logger.error("an image could not be classified, and that is not its fault: %s", exc)
            return InternalError("the image could not be classified")
        except Exception:
            logger.exception("an image could not be classified, and that is not its fault")
            return InternalError("the image could not be classified")
        if isinstance(result, LargeImage):
            return InternalError("the image is too large")
        return result if isinstance(result, ServiceError) else (result, completed.batch_size)

    async def _submit(self, slot: Slot[T, R], value: T, deadline: float) -> Completed[R]:
        try:
            return await slot.submit(value, deadline=deadline)
        except (DeadlineExceeded, asyncio.CancelledError) as exc:
            if slot.withdraw():
                self._watcher.dropped("deadline" if isinstance(exc, DeadlineExceeded) else "departed")
            raise

    def check_room_for_preview(self) -> None:
        """Raise `QueueFull` or `Draining` if no preview would be admitted now."""
        self._beside.check_room(self._previews)

    async def preview(
        self, payload: Payload, resolution: int, over: Overlay | None = None, *, deadline: float
    ) -> Completed[bytes]:
        """Return a PNG of what a network of this resolution is given for an image; `over` is drawn over it.

        `deadline` is a time of `time.monotonic`. Raises `QueueFull`, `Draining`, `DeadlineExceeded` if it is not drawn
        by then, or what `decode.decode` does.
        """
        with self._beside.admit(queue=self._previews) as (place,):
            return await place.submit(partial(self._pipeline.preview, payload, resolution, over), deadline=deadline)

    async def retire(self) -> None:
        """Wait until no request uses the models any more, all of which have deadlines, and close the pipeline."""
        while self._users and self.fault is None:
            self._unused.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._unused.wait(), STOP_POLL_S)
        await self.drain()

    async def drain(self) -> None:
        """Admit no more images, wait for those that were admitted except for what hangs, and close the pipeline."""
        await self._batcher.drain()
        await self._beside.drain()  # after the other, whose images may turn out to be large
        await self._pipeline.close()


async def _all(waiting: Sequence[Awaitable[Result]]) -> list[Result]:
    return [await waiting[0]] if len(waiting) == 1 else await asyncio.gather(*waiting)


async def _done(works: Sequence[Work]) -> list[Any]:
    return [await work() for work in works]
