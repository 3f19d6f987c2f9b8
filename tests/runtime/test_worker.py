"""The processes of the pool, among them and with those who kill: real ones, whose model starts at once."""

import asyncio
import errno
import gc
import os
import signal
import socket
import time
import weakref
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from app import config
from app.config import Settings
from app.errors import Unavailable
from app.runtime import area, requests
from app.runtime import pool as pool_module
from app.runtime import template as template_module
from app.runtime.area import Area
from app.runtime.faults import WorkerFailed, WorkerHung
from app.runtime.pipeline import Job, Sizes
from app.runtime.pool import Pool
from app.runtime.replies import Reader
from app.runtime.requests import Request
from app.runtime.worker import NICENESS, _die_first, _forked
from tests.runtime.colours import HANGS, SHORT_S, Photo
from tests.runtime.conftest import Wait
from tests.support.data import solid
from tests.support.fakes import colour_model
from tests.support.processes import name

VARIANTS = (colour_model().variant,)
RED, HANG, BUG = (Job(payload, VARIANTS) for payload in (solid((220, 30, 30)), b"hang", b"bug"))
LONG_MS = 60_000
"""A deadline after which nothing here is still waiting."""


@pytest.fixture(scope="module", autouse=True)
def colours() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(template_module, "WORKER_MODULE", "tests.runtime.colours")
        patch.setattr(config, "STALLED_AT_LEAST_S", SHORT_S)
        yield


@contextmanager
def started(wait: Wait, **settings: Any) -> Iterator[Pool]:
    # A shell that starts the tests in the background has them ignore SIGINT, and what is ignored is inherited.
    inherited = signal.signal(signal.SIGINT, signal.default_int_handler)
    pool = Pool(Settings(model_workers=2, **settings)).ready()
    signal.signal(signal.SIGINT, inherited)
    try:
        yield pool
    finally:
        wait(pool.close())


@pytest.fixture(scope="module")
def patient(wait: Wait) -> Iterator[Pool]:
    with started(wait, request_timeout_ms=LONG_MS, model_threads=3) as pool:
        yield pool


@pytest.fixture(scope="module")
def impatient(wait: Wait) -> Iterator[Pool]:
    with started(wait, request_timeout_ms=100) as pool:
        yield pool


def template(pool: Pool) -> int:
    return pool._template.pid


def workers(pool: Pool) -> list[int]:
    """Return the processes that the template has forked, those included that have ended and nobody asked about."""
    number = template(pool)
    return [int(one) for one in Path(f"/proc/{number}/task/{number}/children").read_text().split()]


def hung(pool: Pool) -> list[int]:
    """Return those of them that an image hangs."""
    return [number for number in workers(pool) if name(number) == HANGS]


def ended(number: int) -> bool:
    """Whether a process has ended, be it that its new parent has not asked about it yet."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(") ")[2][0] in "ZX"
    except OSError:
        return True


async def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "in vain"
        await asyncio.sleep(0.01)


async def threads(pool: Pool) -> int:
    (outcomes,) = await pool.run([RED])
    assert isinstance(outcomes, tuple)
    return round(100 * float(outcomes[0].probabilities[0]))


def test_only_who_is_alone_has_all_threads(patient: Pool, wait: Wait) -> None:
    async def ask() -> list[int]:
        alone = await threads(patient)
        hanging = asyncio.create_task(patient.run([HANG]))
        await asyncio.sleep(0)
        hung = workers(patient)
        beside = await threads(patient)
        hanging.cancel()
        await asyncio.gather(hanging, return_exceptions=True)
        for process in hung:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        return [alone, beside, await threads(patient)]

    assert wait(ask()) == [3, 1, 3]


def test_requests_that_are_given_up_leave_no_process_behind(
    patient: Pool, wait: Wait, caplog: pytest.LogCaptureFixture
) -> None:
    async def give_up() -> None:
        for _ in range(5):
            await patient.run([RED])
            given_up = asyncio.create_task(patient.run([RED]))
            await asyncio.sleep(0)  # until an idle worker is asked
            given_up.cancel()
            await asyncio.gather(given_up, return_exceptions=True)
        await patient.run([RED])
        idle = len(patient._idle)
        await until(lambda: len(workers(patient)) == idle)

    wait(give_up())
    assert not caplog.records


def test_signals_to_all_processes_are_for_the_one_that_takes_requests(patient: Pool, wait: Wait) -> None:
    async def interrupt() -> None:
        await patient.run([RED])
        before = workers(patient)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            for process in (template(patient), *before):
                os.kill(process, number)
        await patient.run([RED])
        assert workers(patient) == before
        assert patient.fault is None

    wait(interrupt())


def test_workers_give_way_to_the_process_that_takes_requests_when_time_or_memory_is_short(
    patient: Pool, wait: Wait
) -> None:
    wait(patient.run([RED]))
    own = os.getpriority(os.PRIO_PROCESS, 0)
    assert os.getpriority(os.PRIO_PROCESS, template(patient)) == own
    for number in workers(patient):
        assert os.getpriority(os.PRIO_PROCESS, number) == min(19, own + NICENESS)
        assert Path(f"/proc/{number}/oom_score_adj").read_text() == "1000\n"


def test_a_worker_that_hangs_is_given_up_ends_itself_and_leaves_no_zombie(impatient: Pool, wait: Wait) -> None:
    async def hang() -> None:
        hanging = asyncio.create_task(impatient.run([HANG]))
        await until(lambda: hung(impatient))
        (first,) = hung(impatient)
        with pytest.raises(WorkerHung):
            await hanging
        assert set(hung(impatient)) <= {first}, "it is not tried again, as it would hang another one"
        await until(lambda: first not in workers(impatient))
        assert await threads(impatient)

    wait(hang())


def test_an_idle_worker_does_not_end_however_long_it_waits(impatient: Pool, wait: Wait) -> None:
    async def rest() -> None:
        await impatient.run([RED])
        before = workers(impatient)
        await asyncio.sleep(2.5 * SHORT_S)
        await impatient.run([RED])
        assert workers(impatient) == before

    wait(rest())


def test_an_idle_worker_keeps_no_image_of_its_last_request(patient: Pool, wait: Wait) -> None:
    image = Photo(b64encode(solid((220, 30, 30))).decode())
    kept = weakref.ref(image)
    wait(patient.run([Job(image, VARIANTS)]))
    del image
    gc.collect()
    assert patient._idle
    assert kept() is None


def test_a_worker_that_hangs_does_not_outlive_a_template_that_was_killed(wait: Wait) -> None:
    async def kill(pool: Pool) -> None:
        hanging = asyncio.create_task(pool.run([HANG]))
        await until(lambda: hung(pool))
        (worker,) = hung(pool)
        os.kill(template(pool), signal.SIGKILL)
        await until(lambda: ended(worker))
        hanging.cancel()
        await asyncio.gather(hanging, return_exceptions=True)

    with started(wait, request_timeout_ms=LONG_MS) as pool:
        wait(kill(pool))


def test_a_template_that_forks_nothing_is_killed_and_a_request_that_waits_for_it_is_to_come_again(
    wait: Wait, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool_module, "FORK_S", 0.1)
    with started(wait, request_timeout_ms=LONG_MS) as pool:
        os.kill(template(pool), signal.SIGSTOP)
        with pytest.raises(Unavailable, match="the process that forks the workers ended"):
            wait(pool.run([RED]))
        assert pool._template.wait(10) == -signal.SIGKILL
        assert pool.fault


def test_a_template_that_forks_is_let_be(wait: Wait, caplog: pytest.LogCaptureFixture) -> None:
    with started(wait, request_timeout_ms=LONG_MS) as pool:
        wait(pool.run([RED]))
        assert pool._watching
        wait(asyncio.wait_for(pool._watching, 10))
        assert not caplog.records


def test_once_the_template_was_killed_every_request_is_to_come_again_and_the_log_has_no_traceback(
    wait: Wait, caplog: pytest.LogCaptureFixture
) -> None:
    with started(wait, request_timeout_ms=LONG_MS) as pool:
        wait(pool.run([RED]))
        os.kill(template(pool), signal.SIGKILL)
        pool._template.wait(10)
        for jobs in ([RED], [RED], [RED, RED]):
            with pytest.raises(Unavailable, match="the process that forks the workers ended"):
                wait(pool.run(jobs))
    assert [(record.getMessage(), record.exc_info) for record in caplog.records] in (
        [],
        [("a worker ended in the middle of its work", None)],
        [("a worker could not be asked: [Errno 32] Broken pipe", None)],
    )


def test_an_image_whose_second_worker_ends_with_the_template_is_not_to_blame(wait: Wait) -> None:
    async def kill(pool: Pool) -> None:
        asking = asyncio.create_task(pool.run([HANG]))
        await until(lambda: hung(pool))
        (first,) = hung(pool)
        os.kill(first, signal.SIGKILL)
        await until(lambda: set(hung(pool)) - {first})
        os.kill(template(pool), signal.SIGKILL)
        with pytest.raises(Unavailable, match="the process that forks the workers ended"):
            await asking

    with started(wait, request_timeout_ms=LONG_MS) as pool:
        wait(kill(pool))


@pytest.fixture
def shared() -> Iterator[Area]:
    descriptor = area.new()
    with closing(Area(descriptor)) as found:
        os.close(descriptor)
        yield found


def test_where_no_more_processes_are_allowed_the_request_is_told_so(
    shared: Area, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused() -> int:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", refused)
    request = Request([RED], large=False, alone=True, resolution=0)
    ours, theirs = socket.socketpair()
    with ours:
        ours.sendall(requests.SIZE.pack(shared.write(requests.pack(request, [0]))))
        with theirs:
            assert not _forked(theirs, shared, VARIANTS)
        assert isinstance(found := Reader(request, [Sizes(2, 4, 1)]).add(ours.recv(65536)), WorkerFailed)
    assert "Resource temporarily unavailable" in str(found)


def test_where_no_more_processes_are_allowed_a_request_that_never_comes_is_no_matter(
    shared: Area,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refused() -> int:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", refused)
    ours, theirs = socket.socketpair()
    ours.close()
    with theirs:
        assert not _forked(theirs, shared, VARIANTS)


def test_a_worker_works_where_it_may_not_say_who_is_to_die_first(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "write_text", refused)
    _die_first()


def test_a_template_that_does_not_end_is_killed(wait: Wait, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "STOP_S", 0.1)
    with started(wait) as pool:
        os.kill(template(pool), signal.SIGSTOP)
        pool.end()
        assert pool.fault
        assert pool._template.returncode == -signal.SIGKILL


def test_a_bug_in_a_worker_is_in_the_log_with_where_it_is(wait: Wait, capfd: pytest.CaptureFixture[str]) -> None:
    with (
        started(wait, request_timeout_ms=LONG_MS) as pool,
        pytest.raises(WorkerFailed, match="a worker failed: \"KeyError: 'a bug'\""),
    ):
        wait(pool.run([BUG]))
    log = capfd.readouterr().err
    assert "a request to a worker failed" in log
    assert 'raise KeyError("a bug")' in log
