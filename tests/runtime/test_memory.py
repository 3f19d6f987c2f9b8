"""A memory limit is kept: fewer workers, no image that would not fit, and a line where the service does not."""

from collections.abc import Iterator
from math import inf

import pytest

from app import config
from app.config import OPENVINO_BYTES, PHOTO_BYTES, PROCESS_BYTES, WORKER_BYTES, Settings
from app.errors import StartError, TooManyPixels
from app.imaging import bounds
from app.imaging.bounds import LARGE_BYTES
from app.imaging.decode import decode
from app.mobilenet.variants import Variant
from app.runtime import memory
from app.runtime.memory import MB, keep_to_limit, needed_bytes, room_bytes
from tests.support.images import encoded, photo

TWO = Settings(model_workers=2)


@pytest.fixture(autouse=True)
def unbounded() -> Iterator[None]:
    """No bound of these tests outlives them."""
    yield
    bounds.allow(inf)


def limited(monkeypatch: pytest.MonkeyPatch, limit: float | None) -> None:
    for module in (config, memory):
        monkeypatch.setattr(module, "memory_limit_bytes", lambda: limit)


def test_processes_and_models_are_added_up() -> None:
    one, workers = needed_bytes(TWO), 3  # another for what is decoded beside the batches
    assert PROCESS_BYTES + workers * WORKER_BYTES < one < PROCESS_BYTES + workers * WORKER_BYTES + 20 * MB
    assert needed_bytes(TWO.model_copy(update={"http_workers": 3})) == 3 * one
    assert needed_bytes(TWO.model_copy(update={"variants": (Variant(1, 224),)})) > one + 30 * MB
    assert needed_bytes(TWO.model_copy(update={"engine": "tensorflow"})) > one + 100 * MB
    assert needed_bytes(TWO.model_copy(update={"grpc_port": 0})) > one + 15 * MB


def test_with_openvino_each_process_that_runs_it_has_the_models_of_its_own() -> None:
    two = TWO.model_copy(update={"engine": "openvino"})
    assert needed_bytes(two) > needed_bytes(TWO) + 3 * OPENVINO_BYTES
    more = {workers: needed_bytes(two.model_copy(update={"model_workers": workers})) for workers in (0, 1, 2, 3)}
    assert more[3] - more[2] == more[2] - more[1] > WORKER_BYTES + OPENVINO_BYTES
    each = more[2] - more[1]
    assert more[0] == more[1] - each - WORKER_BYTES, "without workers the only process of the models is the HTTP one's"


def test_all_that_decode_at_once_stay_within_the_limit() -> None:
    for workers, http_workers in ((2, 1), (1, 1), (2, 3), (0, 4)):
        settings = Settings(model_workers=workers, http_workers=http_workers)
        batches = http_workers * max(1, workers)
        for left in (10 * MB, 200 * MB, 4_000 * MB):
            room = room_bytes(needed_bytes(settings) + left, settings)
            # In each HTTP process an image of each batch, and one that is large or drawn beside them.
            assert batches * min(room, LARGE_BYTES) + http_workers * room <= left + 1  # a byte for rounding
            assert room >= left / (batches + http_workers) - 1


def test_an_image_that_does_not_fit_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    image = encoded(photo(1_000, 1_000), "PNG")
    limited(monkeypatch, needed_bytes(TWO) + 30 * MB)
    keep_to_limit(TWO)
    with pytest.raises(TooManyPixels, match=r"takes about 12 MB, .* limit of the service leaves 10 MB"):
        decode(image, resolution=64, max_pixels=10**7)
    limited(monkeypatch, needed_bytes(TWO) + 40 * MB)
    keep_to_limit(TWO)
    assert decode(image, resolution=64, max_pixels=10**7).shape == (64, 64, 3)


def test_without_a_limit_nothing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    limited(monkeypatch, None)
    keep_to_limit(TWO)
    assert decode(encoded(photo(1_000, 1_000), "PNG"), resolution=64, max_pixels=10**7).shape == (64, 64, 3)


def test_a_service_that_does_not_fit_does_not_start_and_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    limited(monkeypatch, 64 * MB)
    says = r"the memory limit is 64 MB, and the service needs about 19\d MB with .*HTTP_WORKERS=1 and .*MODEL_WORKERS=2"
    with pytest.raises(StartError, match=says):
        keep_to_limit(TWO)


def test_a_limit_has_fewer_workers_unless_their_number_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "available_cpus", lambda: 16)
    limited(monkeypatch, 1_000 * MB)
    fitting = Settings().model_workers
    assert 1 < fitting < 16
    assert room_bytes(1_000 * MB, Settings()) >= PHOTO_BYTES
    assert Settings(model_workers=9).model_workers == 9
    limited(monkeypatch, 64 * MB)
    assert Settings().model_workers == 1
    limited(monkeypatch, None)
    assert Settings().model_workers == 16
