"""Models are loaded beside those that serve: tried elsewhere first, within the memory limit, and given up if asked."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.config import Settings
from app.errors import StartError
from app.footprint import MB, needed_bytes
from app.runtime import local, memory, pool, template
from app.runtime.inline import Inline, Threads
from app.runtime.loading import load_beside
from app.runtime.local import Local
from app.runtime.pool import stop_loading
from tests.support.fakes import colour_model

SETTINGS = Settings(precision="int8", alpha=0.25, resolution=128, model_workers=0)


def test_what_crashes_whatever_loads_it_is_one_line_and_is_never_loaded_in_the_process_that_serves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(template, "WORKER_MODULE", "tests.nowhere")
    monkeypatch.setattr(local, "in_process", lambda _: pytest.fail("loaded here"))
    with pytest.raises(StartError, match="the process that loads the model ended before it was done"):
        load_beside(SETTINGS)


def test_what_was_tried_elsewhere_is_loaded_here_and_nothing_else_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[pool.Pool] = []

    class Seen(pool.Pool):
        def end(self) -> None:
            """End, and be seen."""
            tried.append(self)
            super().end()

    monkeypatch.setattr(pool, "Pool", Seen)
    monkeypatch.setattr(local, "in_process", lambda _: Local([colour_model()], 10**8))
    loaded = load_beside(SETTINGS)
    assert isinstance(loaded, Inline)
    asyncio.run(loaded.close())
    assert [one.fault for one in tried] == ["the process that forks the workers ended"]


def test_models_of_worker_processes_are_loaded_once_as_they_are_tried_there(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[Settings] = []

    class Seen(pool.Pool):
        def __init__(self, settings: Settings, _: object) -> None:
            loaded.append(settings)

        def ready(self) -> pool.Pool:
            """Load nothing."""
            return self

    monkeypatch.setattr(pool, "Pool", Seen)
    monkeypatch.setattr(template.Template, "start", lambda: None)
    settings = SETTINGS.model_copy(update={"model_workers": 1})
    assert isinstance(load_beside(settings), Seen)
    assert loaded == [settings]


@pytest.mark.parametrize("workers", [0, 1])
def test_tensorflow_runs_on_threads_of_this_process_however_many_workers_there_are(
    monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    monkeypatch.setattr(local, "in_process", lambda _: Local([colour_model()], 10**8))
    monkeypatch.setattr(pool, "Pool", lambda *_: pytest.fail("in other processes"))
    settings = SETTINGS.model_copy(update={"engine": "tensorflow", "model_workers": workers})
    assert isinstance(load_beside(settings), Threads)


@pytest.mark.parametrize("workers", [0, 1])
def test_loading_that_is_given_up_ends_at_once_and_says_so_to_whoever_waits(workers: int) -> None:
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(load_beside, SETTINGS.model_copy(update={"model_workers": workers}))
        while not pool._loading:
            assert not waiting.done()
            threading.Event().wait(0.001)
        (loading,) = pool._loading
        stop_loading()
        with pytest.raises(StartError, match="ended before it was done"):
            waiting.result(10)
    assert loading.fault is not None
    assert not pool._loading


def test_a_limit_without_room_for_two_models_is_said_before_anything_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    needed = needed_bytes(SETTINGS)
    both = needed + 60 * MB
    monkeypatch.setattr(memory, "memory_limit_bytes", lambda: needed + 10 * MB)
    with pytest.raises(StartError, match=r"limit is 1\d\d MB, and the old model and the new one need about 1\d\d MB"):
        load_beside(SETTINGS)
    monkeypatch.setattr(memory, "memory_limit_bytes", lambda: both)
    memory.check_room_beside(SETTINGS)
