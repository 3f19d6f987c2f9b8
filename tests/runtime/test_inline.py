"""A model in the midst of an event loop lets others have their turn, and cannot hang for ever."""

import asyncio
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import replace

import pytest
from PIL import Image

from app.engines.base import Pixels, Predictions
from app.runtime.inline import Inline
from app.runtime.pipeline import Decoding, Job, Local
from tests.support.data import REPOSITORY, solid
from tests.support.fakes import ColourEngine, colour_model
from tests.support.images import encoded

VARIANTS = (colour_model().variant,)
RED = Job(solid((220, 30, 30)), VARIANTS)
HANGS = """
import asyncio, time
from app.runtime.inline import Inline
from app.runtime.pipeline import Local
from tests.support.fakes import colour_model
from tests.runtime.test_inline import RED

class Hanging(Local):
    def classify(self, decodings):
        time.sleep(0.01)
        results = super().classify(decodings)
        while len(ran) == 3:
            pass
        ran.append(1)
        return results

    def decode(self, job, large=False):
        decoding = super().decode(job, large)
        while len(ran) == 3 and large:
            time.sleep(1)
        return decoding

ran = []
pipeline = Inline(Hanging([colour_model()], max_pixels=10**8), patience_s=0.3)

async def main():
    await pipeline.run([RED] * 2, large={large})
    time.sleep(0.5)
    await pipeline.run([RED], large={large})
    await asyncio.sleep(0.5)
    print("so far so good", flush=True)
    await pipeline.run([RED], large={large})

asyncio.run(main())
"""


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


@pytest.mark.parametrize("large", [False, True], ids=["a model", "the decoder of a large image"])
def test_what_hangs_ends_the_process_and_what_is_idle_does_not(large: bool) -> None:
    program = HANGS.format(large=large)
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.stdout.strip(), done.returncode) == ("so far so good", -signal.SIGALRM)
    assert ("this process ends" in done.stderr) is large
