"""What becomes of images whose run hangs, whatever kind of run it is, and of the others meanwhile."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest

from app.config import Settings
from app.errors import DeadlineExceeded, Draining, InternalError, QueueFull
from app.imaging.bounds import LargeImage
from app.mobilenet.variants import Variant
from app.prediction.classifier import MAX_PREVIEWS, Classifier
from app.prediction.result import Classification, Result
from app.prediction.selection import Cascade, Plan, SideBySide, Single
from app.runtime.faults import WorkerFailed
from app.runtime.local import Local
from app.runtime.pipeline import Job, JobResult, Payload
from tests.support.data import RED
from tests.support.fakes import Clock, colour_model
from tests.support.images import png

FIRST, SECOND, THIRD = Variant(0.25, 64), Variant(0.5, 64), Variant(0.75, 64)
LARGE = png(4000, 3001, depth=1, colour=0, rows=bytes(501 * 3001))
BATCHES = {1: [1], 2: [1, 1], 3: [2, 2, 1]}
"""The batch of each of so many images that come together, of which two batches run at the same time."""
Hangs = Callable[[Job, bool], bool]


class Pipeline:
    """Models of colours, whose runs of some jobs do not end before the gate is open."""

    runs = 2
    fault: str | None = None

    def __init__(self, *variants: Variant) -> None:
        self._local = Local([replace(colour_model(), variant=one) for one in variants or (FIRST, SECOND)], 10**8)
        self.models = self._local.models
        self.hangs: Hangs = lambda job, large: False
        self.gate = asyncio.Event()

    async def run(self, jobs: Sequence[Job], large: bool = False) -> list[JobResult]:
        """Classify, or hang."""
        if any(self.hangs(job, large) for job in jobs):
            await self.gate.wait()
        return self._local.run(jobs, large)

    async def preview(self, payload: Payload, resolution: int, over: object = None) -> bytes:
        """Hang."""
        await self.gate.wait()
        return b""

    async def close(self) -> None:
        """Nothing is held."""


class Watcher:
    """Is told of images, and remembers why some were not run."""

    def __init__(self) -> None:
        self.reasons: list[str] = []
        self.under_way: list[int] = [0]

    def admitted(self, change: int) -> None:
        """Note how many images are under way now."""
        self.under_way.append(self.under_way[-1] + change)

    def dropped(self, reason: str) -> None:
        """Note the reason."""
        self.reasons.append(reason)

    def settled(self, result: Result, variant: str) -> None:
        """Hear of it."""


@pytest.fixture
async def pipeline() -> AsyncIterator[Pipeline]:
    made = Pipeline()
    yield made
    made.gate.set()
    await asyncio.sleep(0)


@pytest.fixture
def classifier(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> Classifier:
    monkeypatch.setattr("app.config.STALLED_AT_LEAST_S", 0.05)
    monkeypatch.setattr("app.config.STALL_GRACE_S", 0.0)
    return Classifier(pipeline, Settings(request_timeout_ms=20), Watcher())


def soon() -> float:
    return time.monotonic() + 1


@pytest.mark.parametrize(
    ("plan", "image", "hangs"),
    [
        pytest.param(Single(), RED, lambda job, large: True, id="single"),
        pytest.param(SideBySide((FIRST, SECOND), SECOND), RED, lambda job, large: True, id="side by side"),
        pytest.param(Cascade((FIRST, SECOND), 1.0), RED, lambda job, large: SECOND in job.variants, id="second stage"),
        pytest.param(Single(), LARGE, lambda job, large: large, id="large"),
    ],
)
async def test_a_run_that_hangs_is_a_fault_and_does_not_keep_anybody_from_stopping(
    pipeline: Pipeline, classifier: Classifier, plan: Plan, image: bytes, hangs: Hangs
) -> None:
    await classifier.classify([image], plan)
    assert classifier.fault is None
    pipeline.hangs = hangs
    (result,) = await classifier.classify([image], plan, soon())
    assert isinstance(result, DeadlineExceeded)
    async with asyncio.timeout(5):
        while classifier.fault is None:
            await asyncio.sleep(0.01)
    assert classifier.fault == "the model hangs"
    await asyncio.wait_for(classifier.drain(), 5)


async def test_a_pipeline_is_not_closed_before_a_drawing_ends_that_nobody_waits_for_any_more(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = asyncio.Event()

    async def close() -> None:
        closed.set()

    monkeypatch.setattr(pipeline, "close", close)
    classifier = Classifier(pipeline, Settings(), Watcher())
    with pytest.raises(DeadlineExceeded, match="while the image was run"):
        await classifier.preview(RED, 64, deadline=time.monotonic() + 0.01)
    retiring = asyncio.create_task(classifier.retire())
    await asyncio.sleep(0.01)
    assert not closed.is_set()
    pipeline.gate.set()
    await asyncio.wait_for(retiring, 5)
    assert closed.is_set()


async def test_a_stage_of_a_cascade_is_sure_from_exactly_the_threshold_on(classifier: Classifier) -> None:
    (alone,) = await classifier.classify([RED], Single([FIRST]))
    assert isinstance(alone, Classification)
    best = alone.probabilities.max()
    for threshold, stages in ((best, 1), (np.nextafter(best, np.float32(2)), 2)):
        (result,) = await classifier.classify([RED], Cascade((FIRST, SECOND), float(threshold)))
        assert isinstance(result, Classification)
        assert len(result.runs) == stages


async def test_comparisons_have_room_of_their_own_and_no_more(pipeline: Pipeline) -> None:
    classifier = Classifier(pipeline, Settings(max_queue=1, max_images=1, max_batch_size=1), Watcher())
    compare = SideBySide((FIRST, SECOND), SECOND)
    pipeline.hangs = lambda job, large: True
    under_way = asyncio.create_task(classifier.classify([RED], compare))
    await asyncio.sleep(0.01)
    with pytest.raises(QueueFull):
        classifier.check_room(compare)
    with pytest.raises(QueueFull):
        await asyncio.wait_for(classifier.classify([RED], compare), 5)
    for variant in (FIRST, SECOND):
        classifier.check_room(Single([variant]))
    pipeline.gate.set()
    await under_way
    classifier.check_room(compare)


async def test_while_the_variants_are_full_a_comparison_has_room(pipeline: Pipeline) -> None:
    classifier = Classifier(pipeline, Settings(max_queue=1, max_images=1, max_batch_size=1), Watcher())
    compare = SideBySide((FIRST, SECOND), SECOND)
    pipeline.hangs = lambda job, large: len(job.variants) == 1
    under_way = [asyncio.create_task(classifier.classify([RED], Single([one]))) for one in (FIRST, SECOND)]
    await asyncio.sleep(0.01)
    classifier.check_room(compare)
    with pytest.raises(QueueFull):
        classifier.check_room(Single([SECOND]))
    pipeline.gate.set()
    await asyncio.gather(*under_way)


async def test_a_cascade_is_refused_as_a_whole_if_any_of_its_stages_is_full(pipeline: Pipeline) -> None:
    classifier = Classifier(pipeline, Settings(max_queue=1, max_images=1, max_batch_size=1), Watcher())
    cascade = Cascade((FIRST, SECOND), 0.0)
    pipeline.hangs = lambda job, large: SECOND in job.variants
    under_way = asyncio.create_task(classifier.classify([RED], Single([SECOND])))
    await asyncio.sleep(0.01)
    with pytest.raises(QueueFull):
        classifier.check_room(cascade)
    with pytest.raises(QueueFull):
        await classifier.classify([RED], cascade)
    classifier.check_room(Single([FIRST]))  # no place is left taken
    pipeline.gate.set()
    await under_way
    (result,) = await classifier.classify([RED], cascade)
    assert isinstance(result, Classification)


async def test_a_result_says_how_many_images_its_batch_had(classifier: Classifier) -> None:
    for images in (1, 2, 3):
        results = await classifier.classify([RED] * images)
        assert [one.batch_size for one in results if isinstance(one, Classification)] == BATCHES[images]


async def test_what_is_not_the_fault_of_an_image_is_in_the_log_with_its_traceback(
    pipeline: Pipeline, classifier: Classifier, caplog: pytest.LogCaptureFixture
) -> None:
    pipeline.hangs = lambda job, large: 1 // 0 == 0
    (result,) = await classifier.classify([RED])
    assert isinstance(result, InternalError)
    assert result.detail == "the image could not be classified"
    assert caplog.messages == ["an image could not be classified, and that is not its fault"]
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [ZeroDivisionError]


async def test_what_a_worker_could_not_do_is_one_line_as_the_worker_has_said_where(
    pipeline: Pipeline, classifier: Classifier, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def run(jobs: Sequence[Job], large: bool = False) -> list[JobResult]:
        raise WorkerFailed("a worker failed: 'no room'")

    monkeypatch.setattr(pipeline, "run", run)
    (result,) = await classifier.classify([RED])
    assert isinstance(result, InternalError)
    (record,) = caplog.records
    assert record.getMessage().endswith("not its fault: a worker failed: 'no room'")
    assert record.exc_info is None


async def test_an_image_that_is_not_run_is_counted_by_the_reason(pipeline: Pipeline) -> None:
    watcher = Watcher()
    classifier = Classifier(pipeline, Settings(max_batch_size=1), watcher)
    pipeline.hangs = lambda job, large: True
    running = [asyncio.create_task(classifier.classify([RED])) for _ in range(pipeline.runs)]
    await asyncio.sleep(0.01)
    (late,) = await classifier.classify([RED], deadline=soon())
    assert isinstance(late, DeadlineExceeded)
    leaving = asyncio.create_task(classifier.classify([RED]))
    await asyncio.sleep(0.01)
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    assert watcher.reasons == ["deadline", "departed"]
    pipeline.gate.set()
    await asyncio.gather(*running)


async def test_a_drawing_is_of_the_image_and_for_the_resolution_that_are_asked_for(
    pipeline: Pipeline, classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def preview(*asked: object) -> bytes:
        return repr(asked).encode()

    monkeypatch.setattr(pipeline, "preview", preview)
    assert (await classifier.preview(b"photo", 64, deadline=soon())).result == repr((b"photo", 64, None)).encode()


async def test_an_image_that_is_large_even_where_large_ones_are_run_is_an_error_of_ours(
    pipeline: Pipeline, classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run(jobs: Sequence[Job], large: bool = False) -> list[JobResult]:
        return [LargeImage() for _ in jobs]

    monkeypatch.setattr(pipeline, "run", run)
    (result,) = await classifier.classify([RED])
    assert isinstance(result, InternalError)
    assert result.detail == "the image is too large"


async def test_of_the_variants_that_may_stand_in_the_first_one_with_room_answers() -> None:
    pipeline = Pipeline(FIRST, SECOND, THIRD)
    classifier = Classifier(pipeline, Settings(max_queue=1, max_images=1), Watcher())
    pipeline.hangs = lambda job, large: FIRST in job.variants
    under_way = asyncio.create_task(classifier.classify([RED], Single([FIRST])))
    await asyncio.sleep(0.01)
    (result,) = await classifier.classify([RED], Single([FIRST, SECOND, THIRD]))
    assert isinstance(result, Classification)
    assert result.model.variant == SECOND
    pipeline.gate.set()
    await under_way


async def test_where_no_variant_has_room_the_refusal_is_that_of_the_first(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr("app.prediction.queue.time", clock)
    classifier = Classifier(pipeline, Settings(max_queue=1, max_images=1, max_batch_size=1), Watcher())
    pipeline.hangs = lambda job, large: True
    under_way = [asyncio.create_task(classifier.classify([RED], Single([one]))) for one in (FIRST, SECOND)]
    await asyncio.sleep(0)
    first = classifier._queues[FIRST]
    clock.now_s += 3  # as if another image had been there, and had left
    first.admit(1)
    first.free()
    with pytest.raises(QueueFull) as caught:
        await asyncio.wait_for(classifier.classify([RED], Single([FIRST, SECOND])), 5)
    assert caught.value.facts["estimated_wait_ms"] == 3000
    pipeline.gate.set()
    await asyncio.gather(*under_way)


async def test_small_images_do_not_wait_for_a_large_one(pipeline: Pipeline, classifier: Classifier) -> None:
    pipeline.hangs = lambda job, large: large
    large = [asyncio.create_task(classifier.classify([LARGE])) for _ in range(2)]
    for _ in range(5):
        (result,) = await asyncio.wait_for(classifier.classify([RED]), 5)
        assert isinstance(result, Classification)
    assert not any(task.done() for task in large)
    pipeline.gate.set()
    for (result,) in await asyncio.gather(*large):
        assert isinstance(result, Classification)


async def test_large_images_are_run_one_at_a_time(pipeline: Pipeline, classifier: Classifier) -> None:
    running: list[bool] = []
    pipeline.hangs = lambda job, large: large and not running.append(large)  # type: ignore[func-returns-value]
    large = [asyncio.create_task(classifier.classify([LARGE])) for _ in range(3)]
    async with asyncio.timeout(10):
        while not running:
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)
    assert len(running) == 1
    pipeline.gate.set()
    await asyncio.gather(*large)
    assert len(running) == 3


async def test_an_image_that_turns_out_to_be_large_is_one_image_and_waited_for_at_the_end(pipeline: Pipeline) -> None:
    watcher, running = Watcher(), asyncio.Event()
    classifier = Classifier(pipeline, Settings(), watcher)
    pipeline.hangs = lambda job, large: large and not running.set()  # type: ignore[func-returns-value]
    leaver = asyncio.create_task(classifier.classify([LARGE]))
    await running.wait()
    leaver.cancel()
    draining = asyncio.create_task(classifier.drain())
    await asyncio.sleep(0.05)
    assert not draining.done()
    pipeline.gate.set()
    await asyncio.wait_for(draining, 5)
    assert watcher.under_way == [0, 1, 0]


async def test_an_image_that_turns_out_to_be_large_is_answered_even_if_the_service_stops_meanwhile(
    pipeline: Pipeline,
) -> None:
    running = asyncio.Event()
    classifier = Classifier(pipeline, Settings(), Watcher())
    pipeline.hangs = lambda job, large: not large and not running.set()  # type: ignore[func-returns-value]
    asking = asyncio.create_task(classifier.classify([LARGE]))
    await running.wait()
    draining = asyncio.create_task(classifier.drain())
    await asyncio.sleep(0)
    pipeline.gate.set()
    (result,) = await asyncio.wait_for(asking, 5)
    assert isinstance(result, Classification)
    await asyncio.wait_for(draining, 5)


async def test_a_large_image_and_a_preview_are_decoded_one_after_the_other_and_small_images_wait_for_neither(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[str] = []
    running = asyncio.Event()

    def hangs(job: Job, large: bool) -> bool:
        if large:
            begun.append("large")
            running.set()
        return large

    async def preview(*_: object) -> bytes:
        begun.append("preview")
        return b"png"

    pipeline.hangs = hangs
    monkeypatch.setattr(pipeline, "preview", preview)
    classifier = Classifier(pipeline, Settings(), Watcher())
    first, second = [asyncio.create_task(classifier.classify([LARGE])) for _ in range(2)]
    await asyncio.wait_for(running.wait(), 5)
    drawing = asyncio.create_task(classifier.preview(RED, 64, deadline=soon()))
    (small,) = await asyncio.wait_for(classifier.classify([RED]), 5)
    assert isinstance(small, Classification)
    assert begun == ["large"]
    pipeline.gate.set()
    assert (await asyncio.wait_for(drawing, 5)).result == b"png"
    await asyncio.wait_for(asyncio.gather(first, second), 5)
    assert begun == ["large", "preview", "large"], "a flood of large images does not keep previews waiting"


async def test_a_drawing_that_hangs_is_said_to_be_one_and_does_not_keep_anybody_from_stopping(
    pipeline: Pipeline, classifier: Classifier
) -> None:
    drawing = asyncio.create_task(classifier.preview(RED, 64, deadline=soon()))
    async with asyncio.timeout(5):
        while classifier.fault is None:
            await asyncio.sleep(0.01)
    assert classifier.fault == "a preview hangs"
    await asyncio.wait_for(classifier.drain(), 5)
    pipeline.gate.set()
    await drawing


@pytest.fixture
def drawn(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The images of which previews were drawn."""
    payloads: list[bytes] = []

    async def preview(payload: bytes, *_: object) -> bytes:
        payloads.append(payload)
        return b"png of " + payload

    monkeypatch.setattr(pipeline, "preview", preview)
    return payloads


async def test_a_preview_that_waits_is_not_drawn_once_its_deadline_has_passed_or_its_client_has_left(
    pipeline: Pipeline, drawn: list[bytes]
) -> None:
    pipeline.hangs = lambda job, large: large
    classifier = Classifier(pipeline, Settings(), Watcher())
    large = asyncio.create_task(classifier.classify([LARGE]))
    async with asyncio.timeout(5):
        while not classifier._beside._running:
            await asyncio.sleep(0.001)
    with pytest.raises(DeadlineExceeded, match="before the image was run, and it was not run"):
        await classifier.preview(b"late", 64, deadline=time.monotonic() + 0.01)
    leaver = asyncio.create_task(classifier.preview(b"of one who left", 64, deadline=soon()))
    stayer = asyncio.create_task(classifier.preview(b"stays", 64, deadline=time.monotonic() + 60))
    await asyncio.sleep(0)
    leaver.cancel()
    pipeline.gate.set()
    assert (await asyncio.wait_for(stayer, 5)).result == b"png of stays"
    await large
    assert drawn == [b"stays"]


async def test_only_so_many_previews_wait_and_those_are_drawn_of_their_own_images_before_the_end(
    pipeline: Pipeline, drawn: list[bytes]
) -> None:
    classifier = Classifier(pipeline, Settings(), Watcher())
    images = [b"%d" % number for number in range(MAX_PREVIEWS)]
    waiting = [asyncio.create_task(classifier.preview(image, 64, deadline=soon())) for image in images]
    await asyncio.sleep(0)
    with pytest.raises(QueueFull):
        classifier.check_room_for_preview()
    draining = asyncio.create_task(classifier.drain())
    assert [one.result for one in await asyncio.gather(*waiting)] == [b"png of " + image for image in images]
    await asyncio.wait_for(draining, 5)
    assert drawn == images
    with pytest.raises(Draining):
        classifier.check_room_for_preview()
