"""The pipeline beside an event loop, or in its midst, gives what it gives alone: answers, errors, failures to start."""

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from app.config import Settings
from app.errors import ServiceError, StartError
from app.imaging.decode import LargeImage
from app.mobilenet.variants import Variant
from app.runtime.inline import Inline
from app.runtime.pipeline import Comparison, Local, Outcome, Pipeline, in_process
from app.runtime.pool import Processes
from tests.support.images import encoded, photo, png

SMALL, LARGE = Variant(0.25, 128), Variant(0.5, 160)
SETTINGS = Settings(precision="int8", alpha=0.25, resolution=128, variants=(LARGE,), threads=2)
FILES: list[bytes | str] = [
    encoded(photo(), "JPEG"),
    b"no image",
    encoded(photo().rotate(90), "PNG"),
    "bm8=",
    png(9000, 9000),
]


@pytest.fixture(scope="module")
def local() -> Local:
    return in_process(SETTINGS)


@pytest.fixture(scope="module")
def wait() -> Iterator[Callable[[Coroutine[Any, Any, Any]], Any]]:
    with asyncio.Runner() as runner:
        yield runner.run


Wait = Callable[[Coroutine[Any, Any, Any]], Any]


@pytest.fixture(scope="module")
def processes(wait: Wait) -> Iterator[Processes]:
    made = Processes(SETTINGS).ready()
    yield made
    wait(made.close())
    assert made.fault


@pytest.fixture(scope="module", params=["processes", "inline"])
def pipeline(request: pytest.FixtureRequest, local: Local) -> Pipeline:
    if request.param == "inline":
        return Inline(local, patience_s=60)
    made: Processes = request.getfixturevalue("processes")
    return made


def test_every_image_has_the_outcome_that_it_has_alone(local: Local, pipeline: Pipeline, wait: Wait) -> None:
    for found, expected in zip(wait(pipeline.run(FILES)), local.run(FILES), strict=True):
        if isinstance(expected, Outcome):
            assert isinstance(found, Outcome)
            np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=1e-6)
        else:
            assert isinstance(found, ServiceError)
            assert isinstance(expected, ServiceError)
            assert (found.code, found.detail, found.headers) == (expected.code, expected.detail, expected.headers)


@pytest.mark.parametrize("variants", [(SMALL, LARGE), (LARGE, SMALL), (LARGE,)], ids=str)
def test_a_comparison_has_for_every_variant_what_that_answers_alone(
    local: Local, pipeline: Pipeline, wait: Wait, variants: tuple[Variant, ...]
) -> None:
    alone = [local.run(FILES, variant=variant) for variant in variants]
    wanted = [Comparison(file, variants) for file in FILES]
    for compared in (local.compare(wanted), wait(pipeline.compare(wanted))):
        for found, *expected in zip(compared, *alone, strict=True):
            if isinstance(found, ServiceError):
                assert [(one.code, one.detail) for one in expected] == [(found.code, found.detail)] * len(variants)
            else:
                assert isinstance(found, tuple)
                for one, outcome in zip(found, expected, strict=True):
                    assert isinstance(outcome, Outcome)
                    np.testing.assert_allclose(one.probabilities, outcome.probabilities, atol=1e-6)


def test_a_batch_of_comparisons_may_want_different_variants(local: Local) -> None:
    both, small = local.compare([Comparison(FILES[0], (LARGE, SMALL)), Comparison(FILES[2], (SMALL,))])
    assert isinstance(both, tuple)
    assert isinstance(small, tuple)
    assert (len(both), len(small)) == (2, 1)
    (expected,) = local.run(FILES[2:3])
    assert isinstance(expected, Outcome)
    np.testing.assert_allclose(small[0].probabilities, expected.probabilities, atol=1e-6)


def test_one_image_alone_has_the_answer_that_it_has_in_a_crowd(local: Local, pipeline: Pipeline, wait: Wait) -> None:
    (expected,) = local.run(FILES[:1])
    assert isinstance(expected, Outcome)

    async def crowd() -> list[list[Any]]:
        return await asyncio.gather(*(pipeline.run(FILES[:1]) for _ in range(20)))

    for (outcome,) in (wait(pipeline.run(FILES[:1])), *wait(crowd())):
        assert isinstance(outcome, Outcome)
        np.testing.assert_allclose(outcome.probabilities, expected.probabilities, atol=1e-6)


def test_a_large_image_is_decoded_by_who_may(pipeline: Pipeline, wait: Wait) -> None:
    large = encoded(Image.new("L", (4000, 4000)), "PNG")
    assert isinstance(wait(pipeline.run([large]))[0], LargeImage)
    assert isinstance(wait(pipeline.run([large], large=True))[0], Outcome)
    comparison = Comparison(large, (LARGE, SMALL))
    assert isinstance(wait(pipeline.compare([comparison]))[0], LargeImage)
    assert len(wait(pipeline.compare([comparison], large=True))[0]) == 2


def test_what_is_known_of_the_model_comes_over(local: Local, processes: Processes) -> None:
    for name in ("variant", "labels", "weights", "weights_sha256", "published", "cost"):
        assert getattr(processes.models[0], name) == getattr(local.models[0], name)
    engine, expected = processes.models[0].engine, local.models[0].engine
    assert (engine.name, engine.precision, engine.classes) == (expected.name, expected.precision, expected.classes)


def test_work_that_is_given_up_takes_no_answer_from_who_asks_next(
    local: Local, processes: Processes, wait: Wait
) -> None:
    async def give_up() -> list[Any]:
        await processes.run(FILES[:1])
        left = asyncio.create_task(processes.run([FILES[2]] * 20))
        await asyncio.sleep(0)
        left.cancel()
        await asyncio.gather(left, return_exceptions=True)
        return await processes.run(FILES[:1])

    (expected,), (outcome,) = local.run(FILES[:1]), wait(give_up())
    assert isinstance(expected, Outcome)
    np.testing.assert_allclose(outcome.probabilities, expected.probabilities, atol=1e-6)


def test_a_worker_that_was_killed_is_replaced_and_nothing_is_lost(processes: Processes, wait: Wait) -> None:
    def kill() -> None:
        children = Path(f"/proc/{processes._workers._template.pid}/task/{processes._workers._template.pid}/children")
        for worker in children.read_text().split():
            os.kill(int(worker), signal.SIGKILL)

    async def with_kills() -> list[Any]:
        await processes.run(FILES[:1])
        kill()  # idle
        await asyncio.sleep(0.05)
        running = [asyncio.create_task(processes.run(FILES)) for _ in range(2)]
        await asyncio.sleep(0.001)
        kill()  # at work
        return await asyncio.gather(*running)

    for outcomes in wait(with_kills()):
        assert [isinstance(one, Outcome) for one in outcomes] == [True, False, True, False, False]


def test_what_keeps_the_model_from_loading_is_raised_here() -> None:
    with pytest.raises(StartError, match="nowhere"):
        Processes(SETTINGS.model_copy(update={"weights": "nowhere.h5"})).ready()


def test_a_process_that_dies_while_it_loads_is_one_line_too() -> None:
    processes = Processes(SETTINGS)
    processes._workers._template.kill()
    with pytest.raises(StartError, match="ended before it was done"):
        processes.ready()
