"""The promises of the batcher; the model is a gate that the test opens."""

import asyncio
import gc
import time
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from math import inf

import pytest

from app.errors import DeadlineExceeded, Draining, InternalError, QueueFull
from app.prediction.batcher import Batcher
from app.prediction.queue import Completed
from tests.support.fakes import Clock

LIMITS = {"max_batch_size": 8, "max_queue": 64, "stalled_after_s": 60}
POISON = -1
LETHAL = -2


class Doubler:
    """A model that doubles numbers once its gate is open, fails on poison, and remembers its batches."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.gate = asyncio.Event()
        self.running = asyncio.Event()

    async def __call__(self, items: Sequence[int]) -> list[int]:
        self.batches.append(list(items))
        self.running.set()
        await asyncio.wait_for(self.gate.wait(), 10)
        if POISON in items:
            raise ValueError("poison")
        if LETHAL in items:
            raise SystemExit
        return [2 * item for item in items]


@pytest.fixture
def model() -> Doubler:
    return Doubler()


Make = Callable[..., Batcher[int, int]]


@pytest.fixture
async def make(model: Doubler) -> AsyncIterator[Make]:
    made: list[Batcher[int, int]] = []

    def factory(**limits: float) -> Batcher[int, int]:
        batcher: Batcher[int, int] = Batcher(model, **(LIMITS | limits))  # type: ignore[arg-type]
        made.append(batcher)
        return batcher

    yield factory
    model.gate.set()
    for batcher in made:
        await batcher.drain()


async def ask(batcher: Batcher[int, int], value: int, **how: float) -> Completed[int]:
    with batcher.admit() as (slot,):
        return await slot.submit(value, **how)


async def occupy(batcher: Batcher[int, int], model: Doubler, value: int = 0) -> "asyncio.Task[Completed[int]]":
    """Start one item and return once the model is busy with it."""
    task = asyncio.create_task(ask(batcher, value))
    await asyncio.wait_for(model.running.wait(), 10)
    return task


async def queue(batcher: Batcher[int, int], *values: int, **how: float) -> "list[asyncio.Task[Completed[int]]]":
    """Queue items in this order behind what is running."""
    tasks = [asyncio.create_task(ask(batcher, value, **how)) for value in values]
    await asyncio.sleep(0)
    return tasks


async def results(tasks: Sequence[Awaitable[Completed[int]]]) -> list[int]:
    return [answer.result for answer in await asyncio.gather(*tasks)]


async def test_one_cancelled_caller_of_three_does_not_leave_the_others_waiting(make: Make, model: Doubler) -> None:
    batcher = make()
    first = await occupy(batcher, model)
    leaver, *others = await queue(batcher, 1, 2, 3)
    leaver.cancel()
    await asyncio.gather(leaver, return_exceptions=True)
    model.gate.set()
    assert await asyncio.wait_for(results([first, *others]), 5) == [0, 4, 6]
    assert model.batches == [[0], [2, 3]], "work for the caller that left was done"


async def test_a_caller_cancelled_while_its_batch_runs_leaves_the_others_their_answers(
    make: Make, model: Doubler
) -> None:
    batcher = make()
    await occupy(batcher, model)
    tasks = await queue(batcher, 1, 2, 3)
    model.gate.set()
    await tasks[0]
    model.gate.clear()
    model.running.clear()
    leaver = await occupy(batcher, model, 4)
    (stayer,) = await queue(batcher, 5)
    leaver.cancel()
    model.gate.set()
    assert (await asyncio.wait_for(stayer, 5)).result == 10


async def test_idle_it_runs_at_once_and_alone(make: Make, model: Doubler) -> None:
    model.gate.set()
    answer = await ask(make(), 21)
    assert (answer.result, answer.batch_size, model.batches) == (42, 1, [[21]])


async def test_busy_it_takes_all_that_queued_up_meanwhile(make: Make, model: Doubler) -> None:
    batcher = make()
    first = await occupy(batcher, model)
    tasks = await queue(batcher, 1, 2, 3, 4)
    model.gate.set()
    assert await results([first, *tasks]) == [0, 2, 4, 6, 8]
    assert model.batches == [[0], [1, 2, 3, 4]]
    assert {(await task).batch_size for task in tasks} == {4}


async def test_a_batch_is_never_larger_than_the_maximum_and_keeps_the_order_of_arrival(
    make: Make, model: Doubler
) -> None:
    batcher = make(max_batch_size=3)
    first = await occupy(batcher, model)
    tasks = await queue(batcher, 1, 2, 3, 4, 5, 6, 7)
    model.gate.set()
    assert await results([first, *tasks]) == [0, 2, 4, 6, 8, 10, 12, 14]
    assert model.batches == [[0], [1, 2, 3], [4, 5, 6], [7]]


async def test_several_runs_go_at_once_and_take_shares_of_what_queued_up(make: Make, model: Doubler) -> None:
    batcher = make(runs=2)
    tasks = await queue(batcher, 0, 1)
    while len(model.batches) < 2:
        await asyncio.sleep(0.01)
    tasks += await queue(batcher, *range(2, 10))
    model.gate.set()
    assert await results(tasks) == [2 * number for number in range(10)]
    assert sorted(model.batches[:2]) == [[0], [1]]
    assert model.batches[2] == [2, 3, 4, 5], "a batch of all would leave the other run idle"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Return the clock by which batches are made. The timers of the loop have their own, and look at this one then."""
    clock = Clock()
    monkeypatch.setattr("app.prediction.batcher.time", clock)
    return clock


async def test_max_wait_gathers_what_arrives_within_it_and_counts_from_the_first(
    make: Make, model: Doubler, clock: Clock
) -> None:
    model.gate.set()
    batcher = make(max_wait_ms=20)
    tasks = await queue(batcher, 1)
    clock.now_s += 0.012
    tasks += await queue(batcher, 2)
    await asyncio.sleep(0.05)
    assert model.batches == []
    clock.now_s += 0.012
    first, last = await asyncio.wait_for(asyncio.gather(*tasks), 10)
    assert model.batches == [[1, 2]]
    assert (first.queue_ms, last.queue_ms) == pytest.approx((24, 12))


async def test_a_full_batch_does_not_wait_for_max_wait(make: Make, model: Doubler) -> None:
    model.gate.set()
    batcher = make(max_wait_ms=60_000, max_batch_size=2)
    assert await asyncio.wait_for(results(await queue(batcher, 1, 2)), 10) == [2, 4]


async def test_max_wait_ends_though_another_run_is_under_way(make: Make, model: Doubler) -> None:
    batcher = make(runs=2, max_wait_ms=50)
    await occupy(batcher, model)
    await queue(batcher, 1)
    async with asyncio.timeout(5):
        while len(model.batches) < 2:
            await asyncio.sleep(0.01)
    assert model.batches == [[0], [1]]


async def test_of_two_queues_each_waits_no_longer_than_max_wait(make: Make, model: Doubler, clock: Clock) -> None:
    model.gate.set()
    batcher = make(max_wait_ms=20)
    other = batcher.add_queue()
    (first,) = await queue(batcher, 1)
    clock.now_s += 0.012
    with batcher.admit(1, other) as (slot,):
        second = asyncio.create_task(slot.submit(2))
        await asyncio.sleep(0)
        clock.now_s += 0.012
        await asyncio.wait_for(first, 10)
        assert model.batches == [[1]], "the wait of the second has begun later and ends later"
        clock.now_s += 0.012
        await asyncio.wait_for(second, 10)


async def test_an_item_past_its_deadline_is_not_run(make: Make, model: Doubler) -> None:
    batcher = make()
    first = await occupy(batcher, model)
    (late,) = await queue(batcher, 1, deadline=time.monotonic() + 0.05)
    (patient,) = await queue(batcher, 2)
    await asyncio.sleep(0.1)
    model.gate.set()
    with pytest.raises(DeadlineExceeded, match="before the image was run, and it was not run"):
        await late
    assert await results([first, patient]) == [0, 4]
    assert model.batches == [[0], [2]]


async def test_an_item_is_not_run_either_if_its_deadline_passed_while_the_loop_was_kept(
    make: Make, model: Doubler
) -> None:
    batcher = make()
    model.gate.set()
    late = asyncio.create_task(ask(batcher, 1, deadline=time.monotonic() + 0.05))
    await asyncio.sleep(0)
    time.sleep(0.1)
    with pytest.raises(DeadlineExceeded):
        await late
    assert not model.batches


async def test_a_batch_that_raises_is_retried_singly_so_an_item_fails_alone(make: Make, model: Doubler) -> None:
    batcher = make()
    first = await occupy(batcher, model)
    good, bad, fine = await queue(batcher, 1, POISON, 3)
    model.gate.set()
    with pytest.raises(ValueError, match="poison"):
        await bad
    assert await results([first, good, fine]) == [0, 2, 6]
    assert model.batches == [[0], [1, POISON, 3], [1], [POISON], [3]]


async def test_of_a_batch_that_raises_what_nobody_wants_any_more_is_not_run_again(make: Make, model: Doubler) -> None:
    good, bad, leaver = await queue(make(), 1, POISON, 3)
    await asyncio.wait_for(model.running.wait(), 10)
    leaver.cancel()
    await asyncio.sleep(0)
    model.gate.set()
    assert await results([good]) == [2]
    with pytest.raises(ValueError, match="poison"):
        await bad
    assert model.batches == [[1, POISON, 3], [1], [POISON]]


async def test_a_model_that_returns_too_few_results_is_an_error_and_not_a_wrong_answer() -> None:
    async def forgetful(items: Sequence[int]) -> Sequence[int]:
        return items[1:]

    batcher: Batcher[int, int] = Batcher(forgetful, max_batch_size=8, max_queue=8, stalled_after_s=60)
    with pytest.raises(RuntimeError, match="0 results for 1 items"):
        await asyncio.wait_for(ask(batcher, 1), 5)
    await batcher.drain()


async def test_beyond_max_queue_nothing_is_admitted(make: Make, model: Doubler) -> None:
    batcher = make(max_queue=3)
    tasks = [await occupy(batcher, model), *await queue(batcher, 1, 2)]
    for ask_for_room in (batcher.check_room, batcher.admit):
        with pytest.raises(QueueFull, match="3 of 3 places") as caught:
            ask_for_room()
        assert caught.value.facts["queue_depth"] == batcher.admitted == 3
    model.gate.set()
    await results(tasks)
    batcher.check_room()


async def test_a_run_that_does_not_end_is_a_stall_and_stopping_does_not_wait_for_it(model: Doubler, make: Make) -> None:
    batcher = make(stalled_after_s=0.05)
    task = await occupy(batcher, model)
    while not batcher.stalled:
        await asyncio.sleep(0.01)
    await asyncio.wait_for(batcher.drain(), 5)
    model.gate.set()
    assert (await task).result == 0
    assert not batcher.stalled


async def test_a_run_that_hangs_is_a_stall_however_new_the_other_runs_are(make: Make, model: Doubler) -> None:
    batcher = make(runs=2, stalled_after_s=0.1)
    await occupy(batcher, model)
    async with asyncio.timeout(5):
        while not batcher.stalled:
            await asyncio.sleep(0.01)
    model.running.clear()
    await occupy(batcher, model, 1)
    assert batcher.stalled


async def test_an_item_is_withdrawn_until_its_run_begins(make: Make, model: Doubler) -> None:
    batcher = make(max_batch_size=1)
    with batcher.admit(3) as (running, queued, unsent):
        tasks = [asyncio.create_task(running.submit(1))]
        await asyncio.wait_for(model.running.wait(), 10)
        tasks.append(asyncio.create_task(queued.submit(2)))
        await asyncio.sleep(0)
        assert [slot.withdraw() for slot in (running, queued, unsent)] == [False, True, True]
        model.gate.set()
        done, cancelled = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(done, Completed)
    assert isinstance(cancelled, asyncio.CancelledError)
    assert model.batches == [[1]]


async def test_a_request_of_several_is_admitted_whole_or_not_at_all(make: Make) -> None:
    batcher = make(max_queue=4)
    with batcher.admit(3):
        with pytest.raises(QueueFull):
            batcher.admit(2)
        assert batcher.admitted == 3
        with batcher.admit(1):
            assert batcher.admitted == 4
    assert batcher.admitted == 0


async def test_a_slot_is_freed_only_when_its_work_really_ended(make: Make, model: Doubler) -> None:
    batcher = make()
    leaver = await occupy(batcher, model)
    leaver.cancel()
    await asyncio.gather(leaver, return_exceptions=True)
    assert batcher.admitted == 1, "the model still runs what its caller left"
    model.gate.set()
    await ask(batcher, 1)
    assert batcher.admitted == 0


async def test_draining_finishes_what_was_admitted_and_admits_no_more(make: Make, model: Doubler) -> None:
    batcher = make()
    tasks = [await occupy(batcher, model), *await queue(batcher, 1, 2)]
    admitted_before = batcher.admit()
    draining = asyncio.create_task(batcher.drain())
    await asyncio.sleep(0.05)
    with pytest.raises(Draining) as caught:
        batcher.admit()
    assert not draining.done()
    model.gate.set()
    with admitted_before as (slot,):
        assert (await slot.submit(3)).result == 6, "what was admitted before may still come"
    await asyncio.wait_for(draining, 5)
    assert await results(tasks) == [0, 2, 4]
    assert caught.value.headers == {"Retry-After": "1"}


async def test_draining_does_not_wait_for_max_wait(make: Make, model: Doubler) -> None:
    model.gate.set()
    batcher = make(max_wait_ms=10_000)
    tasks = await queue(batcher, 1)
    await asyncio.wait_for(batcher.drain(), 5)
    assert await results(tasks) == [2]


class Image:
    """What a request would keep in memory."""


async def test_an_item_that_has_its_result_is_not_kept_until_its_deadline() -> None:
    async def run(items: Sequence[Image]) -> list[int]:
        return [0] * len(items)

    batcher: Batcher[Image, int] = Batcher(run, max_batch_size=1, max_queue=1, stalled_after_s=60)
    image = Image()
    kept = weakref.ref(image)
    with batcher.admit() as (slot,):
        await slot.submit(image, deadline=time.monotonic() + 3600)
    del image, slot
    await batcher.drain()
    gc.collect()
    assert kept() is None


async def test_an_item_that_nobody_waits_for_any_more_is_not_kept_until_a_run_ends() -> None:
    gate = asyncio.Event()

    async def run(items: Sequence[Image]) -> list[int]:
        await gate.wait()
        return [0] * len(items)

    batcher: Batcher[Image, int] = Batcher(run, max_batch_size=8, max_queue=3, stalled_after_s=60)

    async def ask(image: Image, deadline: float = inf) -> None:
        with batcher.admit() as (slot,), suppress(DeadlineExceeded):
            await slot.submit(image, deadline=deadline)

    running = asyncio.create_task(ask(Image()))
    await asyncio.sleep(0)
    leaver, late = Image(), Image()
    kept = [weakref.ref(leaver), weakref.ref(late)]
    left = [asyncio.create_task(ask(leaver)), asyncio.create_task(ask(late, time.monotonic()))]
    await asyncio.sleep(0)
    left[0].cancel()
    await asyncio.wait(left)
    del leaver, late, left
    gc.collect()
    assert [image() for image in kept] == [None, None]
    gate.set()
    await running


async def test_a_model_that_would_end_the_process_ends_one_item(make: Make, model: Doubler) -> None:
    batcher = make()
    first = await occupy(batcher, model)
    good, lethal = await queue(batcher, 1, LETHAL)
    model.gate.set()
    with pytest.raises(InternalError):
        await lethal
    assert await results([first, good]) == [0, 2]


async def test_the_next_batch_is_on_its_way_before_the_first_answer_of_this_one(make: Make, model: Doubler) -> None:
    batcher = make(max_batch_size=2)
    first = await occupy(batcher, model)
    begun: dict[int, int] = {}

    async def ask_and_look(value: int) -> None:
        await ask(batcher, value)
        begun[value] = len(model.batches)

    tasks = [asyncio.create_task(ask_and_look(value)) for value in (1, 2, 3, 4)]
    await asyncio.sleep(0)
    model.gate.set()
    await asyncio.gather(first, *tasks)
    assert model.batches == [[0], [1, 2], [3, 4]]
    assert (begun[1], begun[2]) == (3, 3)


async def test_many_callers_that_come_and_leave_each_get_their_own_answer_and_leave_nothing_behind(
    make: Make, model: Doubler
) -> None:
    model.gate.set()
    batcher = make(max_queue=1000)
    tasks = await queue(batcher, *range(500))
    for task in tasks[::3]:
        task.cancel()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    for value, answer in enumerate(answers):
        assert isinstance(answer, asyncio.CancelledError) or (
            isinstance(answer, Completed) and answer.result == 2 * value
        )
    assert sum(isinstance(answer, Completed) for answer in answers) >= 333
    await ask(batcher, 0)
    assert batcher.admitted == 0
