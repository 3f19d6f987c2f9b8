"""Work on threads gives what it gives, and no thread that hangs keeps anybody from stopping."""

import asyncio
import threading

import pytest
from PIL import Image

from app.imaging.bounds import LargeImage
from app.runtime.inline import Threads
from app.runtime.local import Local
from app.runtime.pipeline import Job
from app.runtime.thread import in_thread
from tests.support.fakes import colour_model
from tests.support.images import encoded


async def test_it_returns_and_raises_what_the_work_does_while_the_loop_goes_on() -> None:
    gate = threading.Event()
    waiting = asyncio.create_task(in_thread(lambda: gate.wait(10)))
    await asyncio.sleep(0)
    gate.set()
    assert await waiting is True
    for error in (ValueError, SystemExit):

        def fail(kind: type[BaseException] = error) -> None:
            raise kind("no")

        with pytest.raises(error, match="no"):
            await in_thread(fail)


def test_who_gives_up_is_not_told_and_a_loop_that_ended_is_not_missed() -> None:
    gate, ended = threading.Event(), threading.Event()
    threads: list[threading.Thread] = []

    def work() -> None:
        threads.append(threading.current_thread())
        gate.wait(10)
        ended.set()

    async def give_up() -> None:
        await asyncio.wait_for(in_thread(work), 0.01)

    with pytest.raises(TimeoutError):
        asyncio.run(give_up())
    (thread,) = threads
    assert thread.daemon
    gate.set()
    thread.join(10)
    assert ended.is_set()


async def test_an_answer_that_comes_after_its_caller_gave_up_is_no_error() -> None:
    gate, wrong = threading.Event(), []
    threads: list[threading.Thread] = []

    def work() -> None:
        threads.append(threading.current_thread())
        gate.wait(10)

    asyncio.get_running_loop().set_exception_handler(lambda _, context: wrong.append(context))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(in_thread(work), 0.01)
    (thread,) = threads
    gate.set()
    await asyncio.to_thread(thread.join, 10)
    await asyncio.sleep(0.01)
    assert not wrong


async def test_a_large_image_is_one_for_the_thread_that_may_take_large_ones() -> None:
    pipeline = Threads(Local([colour_model()], max_pixels=10**8))
    job = Job(encoded(Image.new("L", (4000, 4000)), "PNG"), (colour_model().variant,))
    assert isinstance((await pipeline.run([job]))[0], LargeImage)
    assert isinstance((await pipeline.run([job], large=True))[0], tuple)
