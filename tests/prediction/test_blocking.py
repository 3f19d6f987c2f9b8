"""A photo has no error that is not its own: if the model classifies nothing any more, that is said instead."""

import os
import signal
from collections.abc import Iterator, Sequence
from typing import NoReturn

import pytest

from app.config import Settings
from app.errors import InternalError, StartError
from app.prediction.blocking import LocalBackend
from app.runtime.faults import WorkerFailed, WorkerHung
from app.runtime.pipeline import NOTHING, Job, JobResult, Outcome
from app.runtime.pool import Pool
from tests.support.images import encoded, photo, png

SETTINGS = Settings(precision="int8", alpha=0.25, resolution=128, model_workers=1)
GOOD = encoded(photo(), "JPEG")
LARGE = png(4000, 3001, depth=1, colour=0, rows=bytes(501 * 3001))


@pytest.fixture
def local() -> Iterator[LocalBackend]:
    made = LocalBackend(SETTINGS)
    yield made
    made.close()


def test_a_model_whose_process_ended_is_said_and_is_no_error_of_a_photo(local: LocalBackend) -> None:
    pool = local._pipeline
    assert isinstance(pool, Pool)
    os.kill(pool._template.pid, signal.SIGKILL)
    pool._template.wait()
    for images in ([GOOD, GOOD], [GOOD]):
        with pytest.raises(StartError, match="the model cannot go on: the process that forks the workers ended"):
            local.outcomes(images, NOTHING)


def test_a_machine_without_room_for_a_worker_is_no_error_of_a_photo(
    local: LocalBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run(jobs: Sequence[Job], large: bool = False) -> NoReturn:
        raise WorkerFailed("a worker failed: 'BlockingIOError: [Errno 11] Resource temporarily unavailable'")

    monkeypatch.setattr(local._pipeline, "run", run)
    with pytest.raises(StartError, match=r"cannot go on: .*Resource temporarily unavailable"):
        local.outcomes([GOOD, GOOD], NOTHING)


@pytest.mark.parametrize("error", [WorkerFailed("a worker failed: 'MemoryError: '"), WorkerHung("a worker has hung")])
def test_a_large_photo_that_no_worker_takes_fails_alone(
    local: LocalBackend, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    whole = local._pipeline.run

    async def run(jobs: Sequence[Job], large: bool = False) -> list[JobResult]:
        if large:
            raise error
        return await whole(jobs, large)

    monkeypatch.setattr(local._pipeline, "run", run)
    first, second = local.outcomes([LARGE, GOOD], NOTHING)
    assert isinstance(first, InternalError)
    assert isinstance(second, Outcome)
