"""A memory limit is kept: fewer workers, no image that would not fit, and a line where the service does not."""

from collections.abc import Iterator
from math import inf

import pytest

from app import config
from app.config import PHOTO_BYTES, Settings
from app.errors import StartError, TooManyPixels
from app.footprint import MB, needed_bytes
from app.imaging import bounds
from app.imaging.bounds import LARGE_BYTES
from app.imaging.decode import decode
from app.runtime import memory
from app.runtime.memory import JPEG_BYTES, keep_to_limit, room_bytes
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


def test_all_that_decode_at_once_stay_within_the_limit() -> None:
    for engine, workers, http_workers, runs in (
        ("litert", 2, 1, 2),
        ("openvino", 1, 1, 1),
        ("litert", 2, 3, 2),
        ("litert", 0, 4, 1),
        ("tensorflow", 16, 2, 1),  # whatever is set, it has no workers, and runs one batch at a time
    ):
        settings = Settings(engine=engine, model_workers=workers, http_workers=http_workers)
        batches = http_workers * runs
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
    says = r"the memory limit is 64 MB, and the service needs about 20\d MB with .*HTTP_WORKERS=1 and .*MODEL_WORKERS=2"
    with pytest.raises(StartError, match=says):
        keep_to_limit(TWO)


def test_a_service_without_room_for_photos_of_a_telephone_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    at_once = 2 * (2 + 1)  # in each HTTP process one of each batch and one beside them
    settings = TWO.model_copy(update={"http_workers": 2})
    limited(monkeypatch, needed_bytes(settings) + at_once * JPEG_BYTES - 1)
    with pytest.raises(StartError, match="the memory limit is"):
        keep_to_limit(settings)
    limited(monkeypatch, needed_bytes(settings) + at_once * JPEG_BYTES)
    keep_to_limit(settings)
    telephone = encoded(photo(4032, 3024), "JPEG")
    assert decode(telephone, resolution=160, max_pixels=10**8).shape == (160, 160, 3)


@pytest.mark.parametrize("engine", ["litert", "openvino", "tensorflow"])
@pytest.mark.parametrize("http_workers", [1, 2, 4])
@pytest.mark.parametrize("cpus", [1, 2, 16])
def test_by_default_there_are_as_many_workers_as_leave_room_for_a_photo_in_each(
    monkeypatch: pytest.MonkeyPatch, engine: str, http_workers: int, cpus: int
) -> None:
    monkeypatch.setattr(config, "available_cpus", lambda: cpus)
    given = {"engine": engine, "http_workers": http_workers, "alpha": 1, "resolution": 224, "grpc_port": 0}
    for limit in range(64 * MB, 5_000 * MB, 190 * MB):
        limited(monkeypatch, limit)
        settings = Settings.model_validate(given)
        rooms = [
            room_bytes(limit, settings.model_copy(update={"model_workers": workers})) for workers in range(1, cpus + 1)
        ]
        fitting = [workers for workers, room in enumerate(rooms, 1) if room >= PHOTO_BYTES]
        assert settings.model_workers == max(fitting, default=1)


def test_a_number_of_workers_that_is_set_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    limited(monkeypatch, 64 * MB)
    assert Settings(model_workers=9).model_workers == 9
    monkeypatch.setenv("MOBILENET_MODEL_WORKERS", "8")
    assert Settings().model_workers == 8
