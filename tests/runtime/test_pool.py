"""The pipeline beside an event loop, or in its midst, gives what it gives alone: answers, errors, failures to start."""

import asyncio
import errno
import os
import pickle
import signal
import socket
import subprocess
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from app.config import Settings
from app.engines.base import patterns
from app.errors import ServiceError, StartError, UnsupportedImage
from app.imaging.bounds import LargeImage
from app.mobilenet.variants import Variant
from app.runtime import area, replies
from app.runtime.area import Area
from app.runtime.connection import Connection
from app.runtime.faults import WorkerFailed
from app.runtime.heartbeat import Heartbeat
from app.runtime.inline import Inline
from app.runtime.local import Local, in_process
from app.runtime.pipeline import Job, JobResult, Payload, Pipeline, Sizes
from app.runtime.pool import Pool
from tests.runtime.conftest import Wait
from tests.support.images import encoded, photo, png

SMALL, LARGE = Variant(0.25, 128), Variant(0.5, 160)
SETTINGS = Settings(precision="int8", alpha=0.25, resolution=128, variants=(LARGE,), model_workers=2)
FILES: list[Payload] = [
    encoded(photo(), "JPEG"),
    b"no image",
    encoded(photo().rotate(90), "PNG"),
    "bm8=",
    png(9000, 9000),
    b64encode(encoded(photo(), "JPEG")).decode(),
    b"",
    patterns(1, 128)[0],
]
CLASSIFIED = [True, False, True, False, False, True, False, True]


def jobs(files: Sequence[Payload], *variants: Variant) -> list[Job]:
    return [Job(file, variants or (SMALL,)) for file in files]


def check_same(found: JobResult, expected: JobResult) -> None:
    """Compare two results of the same job."""
    if isinstance(expected, tuple):
        assert isinstance(found, tuple)
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(one.probabilities, other.probabilities, atol=1e-6)
            assert one.format == other.format
    else:
        assert isinstance(found, ServiceError)
        assert isinstance(expected, ServiceError)
        assert (found.code, found.detail, found.headers) == (expected.code, expected.detail, expected.headers)


@pytest.fixture(scope="module")
def local() -> Local:
    return in_process(SETTINGS)


@pytest.fixture(scope="module")
def pool(wait: Wait) -> Iterator[Pool]:
    made = Pool(SETTINGS).ready()
    yield made
    wait(made.close())
    assert made.fault


@pytest.fixture(scope="module", params=["pool", "inline"])
def pipeline(request: pytest.FixtureRequest, local: Local, wait: Wait) -> Iterator[Pipeline]:
    if request.param == "pool":
        yield request.getfixturevalue("pool")
        return
    made = Inline(local, patience_s=60)
    yield made
    wait(made.close())


def test_every_image_has_the_result_that_it_has_alone(local: Local, pipeline: Pipeline, wait: Wait) -> None:
    for found, expected in zip(wait(pipeline.run(jobs(FILES))), local.run(jobs(FILES)), strict=True):
        check_same(found, expected)


@pytest.mark.parametrize("variants", [(SMALL, LARGE), (LARGE, SMALL), (LARGE,)], ids=str)
def test_an_image_has_for_each_of_its_variants_what_that_answers_alone(
    local: Local, pipeline: Pipeline, wait: Wait, variants: tuple[Variant, ...]
) -> None:
    alone = [local.run(jobs(FILES, variant)) for variant in variants]
    for results in (local.run(jobs(FILES, *variants)), wait(pipeline.run(jobs(FILES, *variants)))):
        for found, *expected in zip(results, *alone, strict=True):
            if isinstance(found, ServiceError):
                for one in expected:
                    check_same(found, one)
            else:
                check_same(found, tuple(one[0] for one in expected if isinstance(one, tuple)))
                assert len({(one.decode_ms, one.decode_began) for one in found}) == 1, "it was decoded once"


def test_the_images_of_a_batch_may_want_different_variants(local: Local, pipeline: Pipeline, wait: Wait) -> None:
    mixed = [*jobs(FILES[:1], LARGE, SMALL), *jobs(FILES[2:3]), *jobs(FILES[:1], LARGE)]
    for results in (local.run(mixed), wait(pipeline.run(mixed))):
        for job, found in zip(mixed, results, strict=True):
            check_same(found, local.run([job])[0])


def test_one_image_alone_has_the_answer_that_it_has_in_a_crowd(local: Local, pipeline: Pipeline, wait: Wait) -> None:
    (expected,) = local.run(jobs(FILES[:1]))

    async def crowd() -> list[list[JobResult]]:
        return await asyncio.gather(*(pipeline.run(jobs(FILES[:1])) for _ in range(20)))

    for (found,) in (wait(pipeline.run(jobs(FILES[:1]))), *wait(crowd())):
        check_same(found, expected)


def test_a_large_image_is_decoded_where_that_is_allowed(pipeline: Pipeline, wait: Wait) -> None:
    large = encoded(Image.new("L", (4000, 4000)), "PNG")
    for variants in ((SMALL,), (LARGE, SMALL)):
        assert isinstance(wait(pipeline.run(jobs([large], *variants)))[0], LargeImage)
        assert len(wait(pipeline.run(jobs([large], *variants), large=True))[0]) == len(variants)


def test_what_is_known_of_the_model_comes_over(local: Local, pool: Pool) -> None:
    for name in ("variant", "labels", "weights", "weights_sha256", "published", "cost"):
        assert getattr(pool.models[0], name) == getattr(local.models[0], name)
    engine, expected = pool.models[0].engine, local.models[0].engine
    assert (engine.name, engine.precision, engine.classes) == (expected.name, expected.precision, expected.classes)


def test_work_that_is_given_up_takes_no_answer_from_who_asks_next(local: Local, pool: Pool, wait: Wait) -> None:
    async def give_up() -> list[Any]:
        await pool.run(jobs(FILES[:1]))
        left = asyncio.create_task(pool.run(jobs([FILES[2]])))  # whose reply has the form of the next one
        await asyncio.sleep(0)
        left.cancel()
        await asyncio.gather(left, return_exceptions=True)
        return await pool.run(jobs(FILES[:1]))

    (expected,), (found,) = local.run(jobs(FILES[:1])), wait(give_up())
    check_same(found, expected)


def test_a_worker_that_was_killed_is_replaced_and_nothing_is_lost(
    pool: Pool, wait: Wait, caplog: pytest.LogCaptureFixture
) -> None:
    def workers() -> set[int]:
        children = Path(f"/proc/{pool._template.pid}/task/{pool._template.pid}/children")
        return {int(number) for number in children.read_text().split()}

    def kill(killed: set[int]) -> None:
        for worker in killed:
            with suppress(ProcessLookupError):  # one that an earlier test gave up ends by itself
                os.kill(worker, signal.SIGKILL)

    async def with_kills() -> list[Any]:
        await pool.run(jobs(FILES[:1]))
        kill(idle := workers())
        while any(worker.alive for worker in pool._idle):  # a request that lost two workers would be refused
            await asyncio.sleep(0.01)
        running = [asyncio.create_task(pool.run(jobs(FILES))) for _ in range(2)]
        async with asyncio.timeout(10):
            while len(at_work := workers() - idle) < len(running):
                await asyncio.sleep(0.001)
        kill(at_work)
        return await asyncio.gather(*running)

    for results in wait(with_kills()):
        assert [isinstance(one, tuple) for one in results] == CLASSIFIED
    assert {record.getMessage() for record in caplog.records} <= {"a worker ended in the middle of its work"}


Say = Callable[[socket.socket], None]


async def impostor(pool: Pool) -> socket.socket:
    """Let the next request go to the socket that is returned, in place of a worker."""
    ours, theirs = socket.socketpair()
    descriptor = area.new()
    pool._idle.append(Connection(ours, Area(descriptor)))
    os.close(descriptor)
    return theirs


def test_a_worker_that_answers_otherwise_than_agreed_is_given_up_and_nothing_is_lost(
    local: Local, pool: Pool, wait: Wait, caplog: pytest.LogCaptureFixture
) -> None:
    async def with_lie() -> list[JobResult]:
        with await impostor(pool) as theirs:
            running = asyncio.create_task(pool.run(jobs(FILES)))
            await asyncio.sleep(0.01)
            theirs.sendall(pickle.dumps((False, ["whatever"])))
            results = await running
            while theirs.recv(65536):  # the request, and then the end
                pass
        return results

    for found, expected in zip(wait(with_lie()), local.run(jobs(FILES)), strict=True):
        check_same(found, expected)
    assert "a worker's reply is longer than a reply to its request can be" in caplog.text


def test_with_no_room_for_a_new_worker_the_image_is_not_to_blame(
    pool: Pool, wait: Wait, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room() -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(pool, "_idle", [])
    monkeypatch.setattr(socket, "socketpair", no_room)
    with pytest.raises(WorkerFailed, match=r"^no worker can be asked for: Too many open files$"):
        wait(pool.run(jobs(FILES[:1])))


def test_a_request_whose_worker_died_goes_to_a_new_one_as_the_idle_ones_may_be_dead_too(pool: Pool, wait: Wait) -> None:
    async def die(theirs: socket.socket) -> None:
        theirs.setblocking(False)
        await asyncio.get_running_loop().sock_recv(theirs, 65536)
        theirs.close()

    async def with_dying() -> list[JobResult]:
        with await impostor(pool) as first, await impostor(pool) as second:
            dying = [asyncio.create_task(die(one)) for one in (first, second)]
            results = await pool.run(jobs(FILES[:1]))
            for one in dying:
                one.cancel()
            await asyncio.gather(*dying, return_exceptions=True)
        return results

    assert isinstance(wait(with_dying())[0], tuple)


def test_what_a_worker_says_unasked_is_no_reply_to_the_next_request(
    pool: Pool, wait: Wait, caplog: pytest.LogCaptureFixture
) -> None:
    async def with_lie() -> list[JobResult]:
        with await impostor(pool) as theirs:
            theirs.sendall(replies.pack_results(jobs([b""]), [LargeImage()], {SMALL: Sizes(10, 256, 4)}))
            await asyncio.sleep(0.01)
            return await pool.run(jobs(FILES[:1]))

    assert isinstance(wait(with_lie())[0], tuple)
    assert "was not asked for" in caplog.text


def test_a_request_that_fails_in_a_worker_says_so_and_the_worker_stays(pool: Pool, wait: Wait) -> None:
    async def fail() -> None:
        await pool.run(jobs(FILES[:1]))
        last = pool._idle[-1]  # which is asked first
        with pytest.raises(WorkerFailed, match=r"a worker failed: '.*empty image"):
            await pool.preview(np.zeros((0, 0, 3), np.uint8), 160)
        await pool.run(jobs(FILES[:1]))
        assert pool._idle[-1] is last

    wait(fail())


def test_a_preview_is_drawn_in_a_worker_or_says_what_is_wrong_with_the_image(
    local: Local, pipeline: Pipeline, wait: Wait
) -> None:
    assert wait(pipeline.preview(FILES[0], 160)) == local.preview(FILES[0], 160)
    with pytest.raises(UnsupportedImage, match="this file is not a"):
        wait(pipeline.preview(b"no image", 160))


def test_who_decodes_has_no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOBILENET_API_KEYS", "a-secret-of-the-environment")
    secret = Pool(Settings(**SETTINGS.model_dump(exclude={"api_keys"}), api_keys=("a-secret-of-the-settings",)))
    try:
        secret.ready()
        process = Path(f"/proc/{secret._template.pid}")
        assert b"a-secret" not in (process / "environ").read_bytes()
        assert not any(b"a-secret" in memory for memory in _memory(process))
    finally:
        secret.end()


def _memory(process: Path) -> Iterator[bytes]:
    with (process / "mem").open("rb", 0) as memory:
        for line in (process / "maps").read_text().splitlines():
            if " rw-p " in line:
                start, end = (int(part, 16) for part in line.split()[0].split("-"))
                memory.seek(start)
                with suppress(OSError):
                    yield memory.read(end - start)


def test_what_keeps_the_model_from_loading_is_raised_here() -> None:
    with pytest.raises(StartError, match="nowhere"):
        Pool(SETTINGS.model_copy(update={"weights": "nowhere.h5"})).ready()


def test_a_process_that_cannot_be_started_is_one_line_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(subprocess, "Popen", refused)
    for start in (lambda: Pool(SETTINGS), lambda: Heartbeat(patience_s=5)):
        with pytest.raises(StartError, match=r"cannot be started: Resource temporarily .* --pids-limit"):
            start()


def test_a_process_that_dies_while_it_loads_is_one_line_too() -> None:
    pool = Pool(SETTINGS)
    pool._template.kill()
    with pytest.raises(StartError, match="ended before it was done"):
        pool.ready()
