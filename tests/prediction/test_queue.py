"""Several queues of one batcher: none starves another, each has room of its own, and tells its time."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from app.errors import QueueFull
from app.prediction.batcher import Batcher
from app.prediction.queue import FRESH_S, MEASURED, Queue
from tests.support.fakes import Clock

Order = tuple[str, int]
SECONDS = {"slow": 0.02, "quick": 0.002}


class Kitchen:
    """Runs for two queues, slowly and quickly, notes in which order, and waits for its gate at first.

    What it `burns` takes as long, and fails.
    """

    def __init__(self, clock: Clock, max_batch_size: int = 1) -> None:
        self._clock = clock
        self.order: list[str] = []
        self.burns: set[str] = set()
        self.gate, self.running = asyncio.Event(), asyncio.Event()
        self.batcher: Batcher[Order, int] = Batcher(
            self.run, max_batch_size=max_batch_size, max_queue=100, stalled_after_s=60
        )
        self.queues = {"slow": self.batcher.queue, "quick": self.batcher.add_queue()}

    async def run(self, orders: Sequence[Order]) -> list[int]:
        """Take as long as the name of the orders says."""
        self.running.set()
        await asyncio.wait_for(self.gate.wait(), 10)
        name = orders[0][0]
        self.order.append(name)
        self._clock.now_s += SECONDS[name]
        if name in self.burns:
            raise ValueError(name)
        return [value for _, value in orders]

    async def ask(self, name: str, value: int = 0) -> int:
        """Queue one item and wait for its answer, which is -1 for one that is burnt."""
        with self.batcher.admit(1, self.queues[name]) as (slot,):
            try:
                return (await slot.submit((name, value))).result
            except ValueError:
                return -1

    async def held(self, *names: str) -> list[int]:
        """Completed what is asked for by these names, of which all but the first are queued while that one runs."""
        self.gate.clear()
        self.running.clear()
        first = asyncio.create_task(self.ask(names[0]))
        await asyncio.wait_for(self.running.wait(), 10)
        tasks = [asyncio.create_task(self.ask(name, number)) for number, name in enumerate(names[1:])]
        await asyncio.sleep(0)
        self.order.clear()
        self.gate.set()
        await first
        return await asyncio.gather(*tasks)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in ("batcher", "queue"):
        monkeypatch.setattr(f"app.prediction.{module}.time", clock)
    return clock


@pytest.fixture
async def kitchen(clock: Clock) -> AsyncIterator[Kitchen]:
    made = Kitchen(clock)
    yield made
    made.gate.set()
    await made.batcher.drain()


async def test_a_flood_of_one_lane_does_not_starve_another(kitchen: Kitchen) -> None:
    assert await kitchen.held(*["slow"] * 20, "quick") == [*range(20)]
    assert kitchen.order.index("quick") <= 1, kitchen.order


async def test_a_flood_of_failing_runs_does_not_starve_another_lane(kitchen: Kitchen) -> None:
    kitchen.burns = {"slow"}
    await kitchen.held(*["slow"] * 20, *["quick"] * 10)
    assert kitchen.order[:12].count("quick") == 10, kitchen.order


async def test_a_batch_that_fails_costs_its_lane_its_own_time_and_that_of_each_item_run_again_once(
    clock: Clock,
) -> None:
    kitchen = Kitchen(clock, max_batch_size=4)
    kitchen.burns = {"slow"}
    await kitchen.held(*["slow"] * 4)  # one alone, a batch of three, and each of those alone
    slow = kitchen.queues["slow"]
    assert len(kitchen.order) == 5
    assert slow.served_s == pytest.approx(5 * SECONDS["slow"])
    assert slow.item_s == 0.0, "a run that fails says nothing of how long one takes that does not"


async def test_who_was_idle_saved_nothing_up_for_a_flood_of_its_own(kitchen: Kitchen) -> None:
    await kitchen.held(*["slow"] * 10)
    await kitchen.held(*["quick"] * 60, "slow")
    assert kitchen.order.index("slow") <= 30, kitchen.order


async def test_lanes_that_are_both_busy_get_the_same_time_and_not_the_same_number(kitchen: Kitchen) -> None:
    await kitchen.held(*["slow", "quick"] * 30)
    assert kitchen.order[:20].count("quick") >= 12, kitchen.order


async def test_every_lane_has_room_of_its_own(kitchen: Kitchen) -> None:
    with kitchen.batcher.admit(100):
        with pytest.raises(QueueFull):
            kitchen.batcher.check_room()
        with pytest.raises(QueueFull):
            kitchen.batcher.admit(101, kitchen.queues["quick"])
        with kitchen.batcher.admit(100, kitchen.queues["quick"]):
            assert kitchen.batcher.admitted == 200


async def test_an_item_alone_is_expected_to_take_what_one_takes_to_run(kitchen: Kitchen) -> None:
    kitchen.gate.set()
    for name in ("slow", "quick"):
        await kitchen.ask(name)
    slow, quick = (kitchen.batcher.expected_s(kitchen.queues[name]) for name in ("slow", "quick"))
    assert (slow, quick) == pytest.approx((0.02, 0.002))


async def test_what_waits_is_expected_to_be_run_first(kitchen: Kitchen) -> None:
    kitchen.gate.set()
    await kitchen.ask("slow")
    alone = kitchen.batcher.expected_s(kitchen.queues["slow"])
    with kitchen.batcher.admit(10):
        assert kitchen.batcher.expected_s(kitchen.queues["slow"]) == pytest.approx(11 * alone)
        behind = kitchen.batcher.expected_s(kitchen.queues["quick"])
        assert behind == pytest.approx(alone), "but no other queue waits for more than what is run"


async def test_what_waits_is_shared_by_all_runs(kitchen: Kitchen) -> None:
    batcher: Batcher[Order, int] = Batcher(
        kitchen.run, max_batch_size=1, max_queue=100, stalled_after_s=60, runs=4, first_s=1.0
    )
    assert batcher.expected_s(batcher.queue) == 1
    with batcher.admit(10):
        assert batcher.expected_s(batcher.queue) == 10 / 4 + 1


def test_retry_after_counts_the_time_with_work_and_not_the_idle_time_before(clock: Clock) -> None:
    queue: Queue[int, int] = Queue(max_queue=3)
    for seconds_a_slot, slots in ((50, 3), (0.75, 2)):
        queue.admit(slots)
        for _ in range(slots):
            clock.now_s += seconds_a_slot
            queue.free()
        clock.now_s += 10_000  # idle
    queue.admit(3)
    for _ in range(2):
        clock.now_s += 0.75
        queue.free()
        queue.admit(1)
    with pytest.raises(QueueFull) as caught:
        queue.check(1)
    assert caught.value.facts["estimated_wait_ms"] == 2200, "3 slots of 0.75 s, to two digits"
    assert caught.value.headers["Retry-After"] == "3", "whoever comes sooner is refused again"


def test_how_long_an_item_takes_follows_what_is_measured_and_is_forgotten(clock: Clock) -> None:
    queue: Queue[int, int] = Queue(max_queue=1, first_s=0.008)
    assert queue.item_s == 0.008
    queue.served(0.032, 2)
    assert queue.served_s == 0.032, "a batch has used the time that it ran, however many items it has"
    assert queue.item_s == pytest.approx(0.008 + (0.016 - 0.008) / 8)
    clock.now_s += FRESH_S
    assert queue.item_s == 0.008


def test_the_wait_is_told_by_the_rate_at_which_room_became_free(clock: Clock) -> None:
    filled: Queue[int, int] = Queue(2)

    def told() -> tuple[str, object]:
        with pytest.raises(QueueFull) as caught:
            filled.check(1)
        return caught.value.headers["Retry-After"], caught.value.facts["estimated_wait_ms"]

    filled.admit(2)
    assert told() == ("1", 0), "nothing is known yet"
    for _ in range(2 * MEASURED):
        clock.now_s += 0.25
        filled.free()
        filled.admit(1)
    assert told() == ("1", 490), "two places, of the last 64 of which one became free each quarter of a second"
    for _ in range(MEASURED):
        clock.now_s += 4
        filled.free()
        filled.admit(1)
    assert told() == ("8", 7900)


def test_the_time_of_an_item_begins_with_the_first_run_and_follows_those_after_it_slowly() -> None:
    queue: Queue[int, int] = Queue(max_queue=8)
    queue.served(0.4, 4)
    assert queue.item_s == pytest.approx(0.1)
    queue.served(0.9, 1)
    assert queue.item_s == pytest.approx(0.2)
