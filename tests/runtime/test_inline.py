"""A model in the midst of an event loop lets others have their turn, and cannot hang for ever."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app.engines.base import Pixels, Predictions
from app.runtime.heartbeat import Heartbeat
from app.runtime.inline import Inline, Threads
from app.runtime.local import Decoding, Local
from app.runtime.pipeline import Job
from tests.support import needs
from tests.support.data import REPOSITORY, solid
from tests.support.fakes import ColourEngine, colour_model
from tests.support.images import encoded

VARIANTS = (colour_model().variant,)
RED = Job(solid((220, 30, 30)), VARIANTS)
PATIENCE_S = 3.0
PROGRAM = """
import asyncio, ctypes, sys, time
from app.runtime.inline import Inline
from app.runtime.local import Local
from tests.support.fakes import colour_model
from tests.runtime.test_inline import PATIENCE_S, RED

class Hanging(Local):
    \"\"\"Does what the last word of the command line says at its fourth image.\"\"\"

    def classify(self, decodings):
        time.sleep(0.01)
        results = super().classify(decodings)
        ran.append(1)
        hang()
        return results

    def decode(self, job, large=False):
        decoding = super().decode(job, large)
        if large:
            ran.append(1)
            hang()
        return decoding

    def preview(self, *wanted):
        ran.append(1)
        hang()
        return super().preview(*wanted)

def hang():
    if len(ran) == 4:
        print("now", flush=True)
        {hang}

ran = []

async def main():
    pipeline = Inline(Hanging([colour_model()], max_pixels=10**8), PATIENCE_S)
    await pipeline.run([RED] * 2)
    time.sleep(PATIENCE_S / 4)
    await pipeline.run([RED])
    await asyncio.sleep(1.5 * PATIENCE_S)
    await pipeline.{fourth}
    await pipeline.close()
    print("answered", flush=True)

asyncio.run(main())
"""
SMALL, LARGE, PREVIEW = "run([RED])", "run([RED], large=True)", "preview(RED.payload, 64)"
HANGS = "ctypes.CDLL(None).sleep(60)"
HANGS_WITH_THE_LOCK = "ctypes.PyDLL(None).sleep(60)"
"""No other thread runs Python meanwhile."""


class Noting(ColourEngine):
    def __init__(self, order: list[str]) -> None:
        self._order = order

    def predict(self, images: Sequence[Pixels]) -> Predictions:
        """Note that it is asked."""
        self._order.append("image")
        return super().predict(images)


async def test_between_two_images_others_have_their_turn() -> None:
    order: list[str] = []
    model = replace(colour_model(), engine=Noting(order))
    pipeline = Inline(Local([model], max_pixels=10**8), patience_s=60)

    async def other() -> None:
        for _ in range(3):
            order.append("other")
            await asyncio.sleep(0)

    others = asyncio.create_task(other())
    results = await pipeline.run([RED] * 3)
    await others
    await pipeline.close()
    assert len(results) == 3
    assert order == ["image", "other"] * 3


async def test_a_large_image_is_decoded_while_others_have_their_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    decoding, go_on = threading.Event(), threading.Event()
    real = Local.decode

    def slowly(self: Local, job: Job, large: bool = False) -> Decoding:
        decoding.set()
        assert not large or go_on.wait(10)
        return real(self, job, large)

    monkeypatch.setattr(Local, "decode", slowly)
    pipeline = Inline(Local([colour_model()], max_pixels=10**8), patience_s=60)
    image = Job(encoded(Image.new("L", (4000, 4000)), "PNG"), VARIANTS)
    large = asyncio.create_task(pipeline.run([image], large=True))
    await asyncio.to_thread(decoding.wait, 10)
    (small,) = await pipeline.run([RED])
    assert isinstance(small, tuple)
    assert not large.done()
    go_on.set()
    assert isinstance((await large)[0], tuple)
    await pipeline.close()


def started(fourth: str, hang: str, behind: Sequence[str] = ()) -> "subprocess.Popen[str]":
    program = PROGRAM.format(fourth=fourth, hang=hang)
    command = [*behind, sys.executable, "-c", program]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=REPOSITORY, text=True, stdin=pipe, stdout=pipe, stderr=pipe)


@pytest.mark.parametrize(
    ("fourth", "hang"),
    [
        pytest.param(SMALL, HANGS_WITH_THE_LOCK, id="a model"),
        pytest.param(LARGE, HANGS, id="the decoder of a large image"),
        pytest.param(LARGE, HANGS_WITH_THE_LOCK, id="the decoder of a large image, with the interpreter lock"),
        pytest.param(PREVIEW, HANGS, id="a preview"),
    ],
)
def test_what_hangs_ends_the_process_with_a_line_and_what_is_idle_does_not(fourth: str, hang: str) -> None:
    with started(fourth, hang) as process:
        output, errors = process.communicate(timeout=60)
    assert (output.split(), process.returncode) == (["now"], -signal.SIGALRM)
    assert errors.count("\n") == 1
    assert "process" in errors


@needs.NAMESPACES.mark()
def test_what_hangs_ends_the_first_process_of_a_container_too() -> None:
    with started(SMALL, HANGS_WITH_THE_LOCK, needs.FIRST_PROCESS) as process:
        output, errors = process.communicate(timeout=60)
    assert (output.split(), process.returncode) == (["now"], signal.SIGALRM)
    assert "process" in errors


@pytest.mark.parametrize(
    ("fourth", "whole"),
    [
        pytest.param(SMALL, True, id="all processes while a model runs"),
        pytest.param(LARGE, True, id="all processes while a large image is decoded"),
        pytest.param(SMALL, False, id="the HTTP process alone"),
    ],
)
def test_time_for_which_processes_are_stopped_is_not_a_hang(fourth: str, whole: bool) -> None:
    with started(fourth, "sys.stdin.readline()") as process:
        assert process.stdout is not None
        process.stdout.readline()
        tree = [process.pid, *children(process.pid)] if whole else [process.pid]
        for number in tree:
            os.kill(number, signal.SIGSTOP)
        time.sleep(1.5 * PATIENCE_S)
        for number in tree:
            os.kill(number, signal.SIGCONT)
        output, errors = process.communicate("go on\n", timeout=60)
    assert (output.split(), errors, process.returncode) == (["answered"], "", 0)


def children(process: int) -> list[int]:
    return [int(number) for number in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


async def test_where_hangs_would_not_be_noticed_it_says_so() -> None:
    pipeline = Inline(Local([colour_model()], max_pixels=10**8), patience_s=5)
    await pipeline.run([RED])
    assert pipeline.fault is None
    (watchdog,) = children(os.getpid())
    os.kill(watchdog, signal.SIGKILL)
    while pipeline.fault is None:
        await asyncio.sleep(0.01)
    assert "notices hangs" in pipeline.fault
    await pipeline.close()


def ignored(process: int) -> set[int]:
    """Return the numbers of the signals that a process ignores."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    bits = int(next(line.split()[1] for line in lines if line.startswith("SigIgn:")), 16)
    return {number for number in range(1, 32) if bits >> (number - 1) & 1}


async def test_a_watchdog_heeds_no_signal_that_all_processes_of_a_service_get() -> None:
    heartbeat = Heartbeat(patience_s=60)
    (watchdog,) = children(os.getpid())
    assert os.getpgid(watchdog) == watchdog, "Ctrl-C would reach it before it has told Python to ignore that"
    async with asyncio.timeout(10):
        while not ignored(watchdog) >= {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}:
            await asyncio.sleep(0.01)
    heartbeat.close()


async def test_a_watchdog_that_reads_nothing_keeps_nobody_waiting() -> None:
    heartbeat = Heartbeat(patience_s=60)
    (watchdog,) = children(os.getpid())
    os.kill(watchdog, signal.SIGSTOP)
    with suppress(BlockingIOError):
        while True:
            os.write(heartbeat._pipe, bytes(4096))
    heartbeat.begin()
    assert heartbeat.fault is None
    heartbeat.close()


async def test_on_threads_images_are_classified_and_drawn_as_they_are_in_turn() -> None:
    local = Local([colour_model()], max_pixels=10**8)
    pipeline = Threads(local)
    (found,), (expected,) = await pipeline.run([RED]), local.run([RED])
    assert isinstance(found, tuple)
    assert isinstance(expected, tuple)
    np.testing.assert_array_equal(found[0].probabilities, expected[0].probabilities)
    assert await pipeline.preview(RED.payload, 32) == local.preview(RED.payload, 32)
