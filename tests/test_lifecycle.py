"""The life of the process: what it says while it stops, which faults end it, and how new models take over from old."""

import asyncio
import gc
import os
import signal
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from app import lifecycle
from app.api.security import Guard
from app.config import Settings
from app.errors import Draining, StartError, Unavailable
from app.lifecycle import Lifecycle
from app.main import create_app
from app.model.labels import Label
from app.model.model import Model
from app.model.selftest import SelfTestFailed
from app.observability.metrics import Metrics
from app.reload import Outcome, Reloads
from app.runtime.pipeline import Pipeline
from tests.support.asgi import Client, Held, get, ready
from tests.support.client import parsed
from tests.support.data import solid
from tests.support.fakes import COLOURS, ColourEngine, colour_model, serving

RED = solid(COLOURS["red"])


def a_service(open_: Any = None, reopen: Any = None) -> Lifecycle:
    opens = open_ or serving(colour_model())
    return Lifecycle(Settings(), opens, reopen or opens, metrics=Metrics(), guard=Guard(()))


class Faulty(Lifecycle):
    """A service that is well again after its first fault, and not after its second."""

    def __init__(self, faults: list[str | None]) -> None:
        opens = serving(colour_model())
        super().__init__(Settings(), opens, opens, metrics=Metrics(), guard=Guard(()))
        self.faults = faults

    @property
    def fault(self) -> str | None:
        """What is wrong now; the last that there is goes on."""
        return self.faults.pop(0) if len(self.faults) > 1 else self.faults[0]


async def test_a_service_that_stops_says_when_to_come_again() -> None:
    service = a_service()
    await service.start(None)
    service.classifier().check_room()
    await service.stop()
    with pytest.raises(Draining) as caught:
        service.classifier()
    assert caught.value.headers == {"Retry-After": "1"}


async def test_a_thread_that_cannot_be_started_is_one_line(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Ended(BaseException):
        """The process has ended."""

    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    def end(code: int) -> None:
        raise Ended(code)

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        patch.setattr(os, "_exit", end)
        with pytest.raises(Ended, match="2"):
            await a_service().start(None)
    (line,) = caplog.messages
    assert line.startswith("the thread that loads the model cannot be started")
    assert "--pids-limit" in line


async def test_with_no_room_for_a_thread_a_reload_changes_nothing_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    service = a_service()
    await service.start(None)

    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        outcome = await service.reload()
    assert not outcome.swapped
    assert outcome.said.startswith("a thread cannot be started")
    await service.stop()


async def test_a_fault_that_lasts_ends_the_process_and_one_that_passes_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lifecycle, "WATCH_S", 0.001)
    monkeypatch.setattr(lifecycle, "FAULT_S", 0.0035)
    service, told = Faulty(["a hang", "a hang", None, "a hang", "a hang", "a hang", "still"]), list[str]()
    async with asyncio.timeout(5):
        await service.watch(told.append)
    assert told == ["still"], "the times of two faults do not add up"


def test_only_a_fault_that_a_restart_helps_with_fails_the_health_check() -> None:
    Faulty([None]).alive()
    with pytest.raises(Unavailable, match="a hang"):
        Faulty(["a hang"]).alive()


def model(name: str, engine: ColourEngine | None = None) -> Model:
    """Return a model of colours that has this in its labels, and as the SHA-256 of its weights."""
    labels = tuple(Label(index, None, f"{name} {colour}") for index, colour in enumerate(COLOURS))
    return replace(colour_model(), engine=engine or ColourEngine(), labels=labels, weights_sha256=name)


class Shelf:
    """What the settings name: a model, or what is wrong with it. Counts how often it was loaded, beside itself too."""

    def __init__(self, found: Model | Exception) -> None:
        self.found = found
        self.loaded = self.loading = self.most_at_once = 0
        self.free = threading.Event()
        self.free.set()

    def open(self, settings: Settings) -> Pipeline:
        """Load it, once that is free."""
        found = self.found
        self.loaded += 1
        self.loading += 1
        self.most_at_once = max(self.loading, self.most_at_once)
        assert self.free.wait(10)
        self.loading -= 1
        if isinstance(found, Exception):
            raise found
        return serving(found)(settings)


@asynccontextmanager
async def running(shelf: Shelf, **settings: Any) -> AsyncIterator[FastAPI]:
    app = create_app(Settings(**settings), shelf.open, reopen=shelf.open)
    async with app.router.lifespan_context(app):
        await ready(app)
        yield app


def hangup() -> None:
    """Tell the service to reload: it runs in this process."""
    os.kill(os.getpid(), signal.SIGHUP)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.005)


async def at_rest(before: set["asyncio.Task[Any]"]) -> None:
    """Wait until all that has begun since these tasks were all there were has ended."""
    await until(lambda: asyncio.all_tasks() <= before)


async def settled() -> None:
    """Let everything happen that waits for nothing."""
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Reloads]:
    """Who has been asked for a reload: one for each time, once the signal has come through."""
    found: list[Reloads] = []
    ask = Reloads.ask

    def noted(self: Reloads) -> "asyncio.Task[Outcome]":
        found.append(self)
        return ask(self)

    monkeypatch.setattr(Reloads, "ask", noted)
    return found


async def heard(asked: list[Reloads], times: int) -> None:
    """Wait until so many hangups have come through."""
    await until(lambda: len(asked) == times)


async def answer(app: FastAPI, image: bytes = RED) -> str:
    """Return the label that an image is answered with."""
    client = Client(app, image)
    await asyncio.wait_for(client.task, 10)
    assert client.status == 200, client.problem
    return str(client.problem["results"][0]["predictions"][0]["label"])


async def sample(app: FastAPI, name: str, *labels: str) -> float | None:
    return parsed((await get(app, "/metrics")).decode()).get((name, *labels))


def served(name: str) -> tuple[str, ...]:
    return ("mobilenet_model_info", "colour", "float32", "0.25/64", "colours", name)


async def test_at_a_hangup_a_new_model_takes_over_and_every_route_tells_of_it(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    shelf = Shelf(model("old"))
    async with running(shelf) as app:
        assert await answer(app) == "old red"
        shelf.found = model("new")
        hangup()
        await until(lambda: "reloaded" in caplog.text)
        assert await answer(app) == "new red"
        assert b'"weights_sha256":"new"' in await get(app, "/model-info")
        assert b"new red" in await get(app, "/labels")
        assert await sample(app, *served("new")) == 1
        assert await sample(app, *served("old")) is None
        assert await sample(app, "mobilenet_reloads_total", "swapped") == 1
        assert await sample(app, "mobilenet_images_total", "PNG", "0.25/64") == 2, "of both models"
    (line,) = [record for record in caplog.records if "reloaded" in record.message]
    assert (line.levelname, line.message) == ("INFO", "reloaded: colours, α 0.25 @ 64, SHA-256 new")


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (StartError("new.h5 is damaged\nand so are its labels"), "new.h5 is damaged; and so are its labels"),
        (SelfTestFailed("the self-test failed: cat"), "the self-test failed: cat"),
        (ZeroDivisionError("a bug"), "the model could not be loaded"),
    ],
)
async def test_what_is_wrong_with_new_weights_is_one_line_and_the_old_ones_serve(
    wrong: Exception, says: str, caplog: pytest.LogCaptureFixture
) -> None:
    shelf = Shelf(model("old"))
    async with running(shelf) as app:
        shelf.found = wrong
        hangup()
        await until(lambda: "not reloaded" in caplog.text)
        assert await answer(app) == "old red"
        assert b"ready" in await get(app, "/readyz")
        assert await sample(app, *served("old")) == 1
        assert await sample(app, "mobilenet_reloads_total", "refused") == 1
        assert await sample(app, "mobilenet_reloads_total", "swapped") == 0
    lines = [record.message for record in caplog.records if record.exc_info is None]
    assert lines == [f"not reloaded; the old model keeps serving: {says}"]


async def test_requests_that_the_old_model_admitted_are_answered_by_it(caplog: pytest.LogCaptureFixture) -> None:
    """One runs, one waits in the queue, and one has not even sent its image yet when the new model takes over."""
    caplog.set_level("INFO")
    engine = Held()
    shelf = Shelf(model("old", engine))
    async with running(shelf, max_batch_size=1) as app:
        engine.armed = True
        slow = Slow(app, RED)
        runs, waits = Client(app, RED), Client(app, RED)
        await until(lambda: engine.running.is_set() and slow.asked)
        shelf.found = model("new")
        hangup()
        await until(lambda: "reloaded" in caplog.text)
        assert b"ready" in await get(app, "/readyz")
        assert await answer(app) == "new red", "others need not wait for them"
        engine.gate.set()
        slow.sends.set()
        for client in (runs, waits, slow):
            await asyncio.wait_for(client.task, 10)
            assert client.problem["results"][0]["predictions"][0]["label"] == "old red"
        assert await sample(app, "mobilenet_queue_images") == 0


class Slow(Client):
    """A client that sends its image when it is told to."""

    def __init__(self, app: FastAPI, body: bytes) -> None:
        self.sends = asyncio.Event()
        super().__init__(app, body)

    async def _receive(self) -> dict[str, Any]:
        self.asked += 1
        await self.sends.wait()
        return await super()._receive()


async def test_the_old_model_leaves_the_memory_after_its_last_request(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    engine = ColourEngine()
    gone = weakref.ref(engine)
    shelf = Shelf(model("old", engine))
    del engine
    async with running(shelf) as app:
        before = asyncio.all_tasks()
        assert await answer(app) == "old red"
        await at_rest(before)
        gc.collect()
        gc.disable()  # in a service it seldom runs, and never for what was there at its start
        try:
            shelf.found = model("new")
            hangup()
            await until(lambda: gone() is None)
        finally:
            gc.enable()


async def test_hangups_during_a_reload_are_one_more_reload_and_never_two_at_once(
    caplog: pytest.LogCaptureFixture, asked: list[Reloads]
) -> None:
    caplog.set_level("INFO")
    shelf = Shelf(model("old"))
    async with running(shelf) as app:
        before = asyncio.all_tasks()
        shelf.free.clear()
        shelf.found = model("new")
        hangup()
        await until(lambda: shelf.loaded == 2)
        shelf.found = model("newest")
        for times in (2, 3, 4):
            hangup()
            await heard(asked, times)
        shelf.free.set()
        await until(lambda: caplog.text.count("reloaded: ") == 2)
        assert await answer(app) == "newest red"
        await at_rest(before)
        assert (shelf.loaded, shelf.most_at_once) == (3, 1)


async def test_there_are_never_three_models_at_the_same_time(
    caplog: pytest.LogCaptureFixture, asked: list[Reloads]
) -> None:
    caplog.set_level("INFO")
    engine = Held()
    shelf = Shelf(model("old", engine))
    async with running(shelf) as app:
        engine.armed = True
        client = Client(app, RED)
        await until(engine.running.is_set)
        shelf.found = model("new")
        hangup()
        await until(lambda: "reloaded" in caplog.text)
        hangup()
        await heard(asked, 2)
        await settled()
        assert shelf.loaded == 2, "the old one has a request yet"
        engine.gate.set()
        await client.task
        await until(lambda: shelf.loaded == 3)


async def test_told_to_stop_during_a_reload_it_waits_for_none_and_the_old_model_finishes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    before = asyncio.all_tasks()
    shelf = Shelf(model("old"))
    async with running(shelf) as app:
        shelf.free.clear()
        hangup()
        hangup()
        await until(lambda: shelf.loaded == 2)
        assert await answer(app) == "old red"
    assert shelf.loading == 1, "it still loads, and nobody waited"
    shelf.free.set()
    await until(lambda: not shelf.loading)
    await at_rest(before)
    assert shelf.loaded == 2
    assert "reloaded" not in caplog.text


@pytest.mark.parametrize("failed", [SelfTestFailed("cat"), ZeroDivisionError("a bug")])
async def test_a_reload_heals_a_service_whose_model_failed_at_the_start(failed: Exception) -> None:
    service = a_service(Shelf(failed).open, reopen=serving(model("new")))
    await service.start(None)
    assert await service.reload() == Outcome(True, "colours, α 0.25 @ 64, SHA-256 new")
    assert service.classifier().model.weights_sha256 == "new"
    service.alive()
    await service.stop()


async def test_keys_are_read_again_and_only_together_with_a_model_that_serves(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    keys = tmp_path / "keys"
    keys.write_text("old, always")
    shelf = Shelf(model("old"))

    async def statuses(app: FastAPI) -> Sequence[int]:
        clients = [Client(app, RED, (b"x-api-key", key)) for key in (b"old", b"new", b"always")]
        await asyncio.gather(*(client.task for client in clients))
        return [client.status for client in clients]

    async with running(shelf, api_keys_file=keys) as app:
        assert await statuses(app) == [200, 401, 200]
        keys.write_text("new, always")
        shelf.found = StartError("damaged")
        hangup()
        await until(lambda: "not reloaded" in caplog.text)
        assert await statuses(app) == [200, 401, 200]
        shelf.found = model("new")
        hangup()
        await until(lambda: "reloaded: " in caplog.text)
        assert await statuses(app) == [401, 200, 200]
        keys.write_text("")
        hangup()
        await until(lambda: f"API_KEYS_FILE={keys}: contains no key" in caplog.text)
        assert await statuses(app) == [401, 200, 200]
