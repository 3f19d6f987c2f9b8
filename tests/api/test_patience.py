"""A client that leaves, and one that sets a deadline, on every route: what nobody waits for is not done."""

import asyncio
import base64
import json
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from fastapi import FastAPI

from app.config import Settings
from app.main import create_app
from tests.support.asgi import Client, Held, ended, ready
from tests.support.data import solid
from tests.support.fakes import COLOURS, mosaic_model, serving

RED = solid(COLOURS["red"])
INFER = "/v2/models/mobilenet/infer"
TENSOR = {"name": "image", "datatype": "BYTES", "shape": [1], "data": [base64.b64encode(RED).decode()]}
BODIES = {"/predict": RED, INFER: json.dumps({"inputs": [TENSOR]}).encode(), "/explain": RED, "/embed": RED}
DRAWING = ["/preview", "/explain"]
SOON = (b"x-request-timeout-ms", b"300")


@asynccontextmanager
async def serves(engine: Held, **settings: Any) -> AsyncIterator[FastAPI]:
    """Serve a model one image at a time."""
    app = create_app(Settings(max_batch_size=1, **settings), serving(replace(mosaic_model(), engine=engine)))
    async with app.router.lifespan_context(app):
        await ready(app)
        yield app


class Pen:
    """Draws once its gate is open, and counts the drawings."""

    def __init__(self) -> None:
        self.gate, self.drawing = threading.Event(), threading.Event()
        self.drawn = 0

    def draw(self, *_: object) -> bytes:
        """Return a drawing."""
        self.drawing.set()
        assert self.gate.wait(10)
        self.drawn += 1
        return b"a drawing"


@pytest.fixture
def pen(monkeypatch: pytest.MonkeyPatch) -> Pen:
    """Return what draws instead of the pipeline."""
    pen = Pen()
    monkeypatch.setattr("app.runtime.local.Local.preview", pen.draw)
    return pen


async def second(app: FastAPI, path: str, *headers: tuple[bytes, bytes], begun: threading.Event) -> list[Client]:
    """Send two requests, the second once what the first one needs has begun; return both."""
    first = Client(app, BODIES.get(path, RED), path=path)
    assert await asyncio.to_thread(begun.wait, 10)
    return [first, Client(app, BODIES.get(path, RED), *headers, path=path)]


@pytest.mark.parametrize("path", BODIES)
async def test_an_image_whose_client_left_is_not_run(path: str) -> None:
    engine = Held()
    async with serves(engine) as app:
        engine.armed = True
        first, leaver = await second(app, path, begun=engine.running)
        await asyncio.sleep(0.2)
        leaver.left.set()
        await ended(leaver)
        engine.gate.set()
        await ended(first)
    assert (first.status, engine.ran) == (200, 1)


@pytest.mark.parametrize("path", DRAWING)
async def test_a_picture_whose_client_left_is_not_drawn(path: str, pen: Pen) -> None:
    async with serves(Held()) as app:
        first, leaver = await second(app, path, begun=pen.drawing)
        await asyncio.sleep(0.2)
        leaver.left.set()
        await ended(leaver)
        pen.gate.set()
        await ended(first)
    assert (first.status, pen.drawn) == (200, 1)


@pytest.mark.parametrize("path", BODIES)
async def test_the_deadline_that_a_request_asks_for_holds_when_its_body_is_there_too(path: str) -> None:
    engine = Held()
    async with serves(engine) as app:
        engine.armed = True
        first, hasty = await second(app, path, SOON, begun=engine.running)
        await ended(hasty)
        engine.gate.set()
        await ended(first)
    assert (first.status, hasty.status, engine.ran) == (200, 504, 1)


@pytest.mark.parametrize("path", DRAWING)
async def test_a_picture_that_is_late_is_not_drawn(path: str, pen: Pen) -> None:
    async with serves(Held(), request_timeout_ms=500) as app:
        both = await second(app, path, begun=pen.drawing)
        await ended(*both)
        pen.gate.set()
    assert [client.status for client in both] == [504, 504]
    assert pen.drawn == 1
