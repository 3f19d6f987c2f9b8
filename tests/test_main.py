"""The life of the process: what it says while it stops, and which faults end it."""

import asyncio

import pytest

from app import main
from app.config import Settings
from app.errors import Draining, Unavailable
from app.main import Service
from app.observability.metrics import Metrics
from app.prediction.classifier import Previewer
from tests.support.fakes import colour_model, serving


class Faulty(Service):
    """A service that is well again after its first fault, and not after its second."""

    def __init__(self, faults: list[str | None]) -> None:
        super().__init__(Settings(), serving(colour_model()), Metrics(), Previewer(60))
        self.faults = faults

    @property
    def fault(self) -> str | None:
        """What is wrong now; the last that there is goes on."""
        return self.faults.pop(0) if len(self.faults) > 1 else self.faults[0]


async def test_a_service_that_stops_says_when_to_come_again() -> None:
    service = Service(Settings(), serving(colour_model()), Metrics(), Previewer(60))
    await service.start(None)
    service.classifier().check_room()
    await service.stop()
    with pytest.raises(Draining) as caught:
        service.classifier()
    assert caught.value.headers == {"Retry-After": "1"}


async def test_a_fault_that_lasts_ends_the_process_and_one_that_passes_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(main, "WATCH_S", 0.001)
    monkeypatch.setattr(main, "FAULT_S", 0.0035)
    service, told = Faulty(["a hang", "a hang", None, "a hang", "a hang", "a hang", "still"]), list[str]()
    async with asyncio.timeout(5):
        await service.watch(told.append)
    assert told == ["still"], "the times of two faults do not add up"


def test_only_a_fault_that_a_restart_helps_with_fails_the_health_check() -> None:
    Faulty([None]).alive()
    with pytest.raises(Unavailable, match="a hang"):
        Faulty(["a hang"]).alive()
