"""OpenVINO in worker processes: each opens it after the fork, and it gives the answers that it gives here."""

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.config import Settings
from app.errors import StartError
from app.mobilenet.variants import Variant
from app.runtime.local import Local, in_process
from app.runtime.pipeline import Job
from app.runtime.pool import Pool
from tests.runtime.conftest import Wait
from tests.support import needs
from tests.support.images import encoded, photo
from tests.support.weights import CLASSES, VARIANT, Converted, Saved, settings

pytestmark = [needs.OPENVINO.mark(), pytest.mark.tensorflow]

VARIANTS = (VARIANT, Variant(VARIANT.alpha, 96))
JOB = Job(encoded(photo(), "JPEG"), VARIANTS)


@pytest.fixture(scope="module")
def chosen(saved: Saved, float32_model: Converted) -> Settings:
    found = settings(weights=saved.folder / "network.weights.h5", labels=saved.labels, cache=float32_model.cache)
    return found.model_copy(update={"engine": "openvino", "variants": VARIANTS[1:], "model_workers": 2})


@pytest.fixture(scope="module")
def pool(wait: Wait, chosen: Settings) -> Iterator[Pool]:
    made = Pool(chosen).ready()
    yield made
    wait(made.close())


def uses_openvino(process: int | str) -> bool:
    return "libopenvino_intel_cpu" in Path(f"/proc/{process}/maps").read_text()


def workers(pool: Pool) -> list[int]:
    template = pool._template.pid
    return [int(number) for number in Path(f"/proc/{template}/task/{template}/children").read_text().split()]


@pytest.fixture(scope="module")
def local(chosen: Settings) -> Local:
    return in_process(chosen)


def check(found: Any, local: Local) -> None:
    (expected,) = local.run([JOB])
    for one, other in zip(found, expected, strict=True):  # type: ignore[arg-type]
        np.testing.assert_allclose(one.probabilities, other.probabilities, atol=1e-6)


async def several(pool: Pool) -> list[Any]:
    """Run batches at the same time, for which one worker is not enough."""
    runs = await asyncio.gather(*(pool.run([JOB, JOB]) for _ in range(4)))
    return [result for run in runs for result in run]


def test_what_is_forked_has_one_thread_and_no_model_open(pool: Pool, local: Local, wait: Wait) -> None:
    template = pool._template.pid
    for found in wait(several(pool)):
        check(found, local)
    assert len(os.listdir(f"/proc/{template}/task")) == 1
    assert not uses_openvino(template)
    assert len(workers(pool)) > 1
    assert all(map(uses_openvino, workers(pool)))


def test_a_worker_that_was_killed_is_replaced_by_one_that_answers(pool: Pool, local: Local, wait: Wait) -> None:
    wait(several(pool))
    killed = workers(pool)
    for number in killed:
        os.kill(number, signal.SIGKILL)
    (found,) = wait(pool.run([JOB]))
    check(found, local)
    assert not set(killed) & set(workers(pool))


def test_what_is_known_of_the_model_comes_over(pool: Pool, local: Local) -> None:
    for model, other in zip(pool.models, local.models, strict=True):
        assert (model.engine.name, model.engine.precision, model.engine.classes) == ("openvino", "float32", CLASSES)
        assert model.channels == other.channels > 0
        assert model.first_s > 0


def test_what_keeps_the_model_from_loading_is_raised_here(chosen: Settings, tmp_path: Path) -> None:
    (tmp_path / "weights.h5").write_bytes(b"damaged")
    with pytest.raises(StartError, match=r"^weights.h5 "):
        Pool(chosen.model_copy(update={"weights": str(tmp_path / "weights.h5")})).ready()
