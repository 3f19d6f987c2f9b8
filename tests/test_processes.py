"""The pipeline in other processes gives what it gives in this one: answers, errors, and what keeps it from starting."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from app.config import Settings
from app.engines.selftest import patterns
from app.errors import ServiceError, StartError
from app.images import LargeImage
from app.mobilenet.variants import Variant
from app.pipeline import Comparison, Local, Outcome, in_process
from app.processes import Processes
from tests.photos import encoded, photo, png

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
def processes() -> Iterator[Processes]:
    made = Processes(SETTINGS).ready()
    yield made
    made.close()
    assert made.fault


def test_every_image_has_the_outcome_that_it_has_in_this_process(local: Local, processes: Processes) -> None:
    for found, expected in zip(processes.run(FILES), local.run(FILES), strict=True):
        if isinstance(expected, Outcome):
            assert isinstance(found, Outcome)
            np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=1e-6)
        else:
            assert isinstance(found, ServiceError)
            assert isinstance(expected, ServiceError)
            assert (found.code, found.detail, found.headers) == (expected.code, expected.detail, expected.headers)


@pytest.mark.parametrize("variants", [(SMALL, LARGE), (LARGE, SMALL), (LARGE,)], ids=str)
def test_a_comparison_has_for_every_variant_what_that_answers_alone(
    local: Local, processes: Processes, variants: tuple[Variant, ...]
) -> None:
    alone = [local.run(FILES, variant=variant) for variant in variants]
    wanted = [Comparison(file, variants) for file in FILES]
    for pipeline in (local, processes):
        for found, *expected in zip(pipeline.compare(wanted), *alone, strict=True):
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


def test_one_image_alone_has_the_answer_that_it_has_in_a_crowd(local: Local, processes: Processes) -> None:
    (expected,) = local.run(FILES[:1])
    assert isinstance(expected, Outcome)
    with ThreadPoolExecutor(2) as threads:
        crowd = [outcomes[0] for outcomes in threads.map(processes.run, [FILES[:1]] * 20)]
    for outcome in (*processes.run(FILES[:1]), *crowd):
        assert isinstance(outcome, Outcome)
        np.testing.assert_allclose(outcome.probabilities, expected.probabilities, atol=1e-6)


def test_a_large_image_is_decoded_by_who_may(processes: Processes) -> None:
    large = encoded(Image.new("L", (4000, 4000)), "PNG")
    assert isinstance(processes.run([large])[0], LargeImage)
    assert isinstance(processes.run([large], large=True)[0], Outcome)


def test_what_is_known_of_the_model_comes_over(local: Local, processes: Processes) -> None:
    for name in ("variant", "labels", "weights", "weights_sha256", "published", "cost"):
        assert getattr(processes.models[0], name) == getattr(local.models[0], name)
    engine, expected = processes.models[0].engine, local.models[0].engine
    assert (engine.name, engine.precision, engine.classes) == (expected.name, expected.precision, expected.classes)
    images = list(patterns(3, 128))
    np.testing.assert_allclose(engine.predict(images), expected.predict(images), atol=1e-6)
    with pytest.raises(ValueError, match="same shape"):
        engine.predict([images[0], images[1][1:]])


def test_what_keeps_the_model_from_loading_is_raised_here() -> None:
    with pytest.raises(StartError, match="nowhere"):
        Processes(SETTINGS.model_copy(update={"weights": "nowhere.h5"})).ready()


def test_a_process_that_dies_while_it_loads_is_one_line_too() -> None:
    processes = Processes(SETTINGS)
    processes._workers._template.kill()
    with pytest.raises(StartError, match="ended before it was done"):
        processes.ready()
