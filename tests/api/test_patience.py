"""On every route that takes images: what nobody waits for is not done, and no body is waited for in vain."""

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
from tests.support.asgi import Client, Held, admitted, ended, ready
from tests.support.data import solid
from tests.support.fakes import COLOURS, mosaic_model, serving
from tests.support.pen import Pen

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


@pytest.fixture
def pen(monkeypatch: pytest.MonkeyPatch) -> Pen:
    """Return what draws instead of the pipeline."""
    return Pen(monkeypatch)


async def second(app: FastAPI, path: str, *headers: tuple[bytes, bytes], begun: threading.Event) -> list[Client]:
    """Send two requests, the second once what the first one needs has begun; return both."""
    first = Client(app, BODIES.get(path, RED), path=path)
    assert await asyncio.to_thread(begun.wait, 10)
    return [first, Client(app, BODIES.get(path, RED), *headers, path=path)]


@pytest.mark.parametrize("path", [path for path in BODIES if path != "/predict"])  # of which it is tested where it is
async def test_an_image_whose_client_left_is_not_run(path: str) -> None:
    engine = Held()
    async with serves(engine) as app:
        engine.armed = True
        first, leaver = await second(app, path, begun=engine.running)
        await admitted(app, 2)
        leaver.left.set()
        await ended(leaver)
        engine.gate.set()
        await ended(first)
    assert (first.status, engine.ran) == (200, 1)


@pytest.mark.parametrize("path", DRAWING)
async def test_a_picture_whose_client_left_is_not_drawn(path: str, pen: Pen) -> None:
    async with serves(Held()) as app:
        first, leaver = await second(app, path, begun=pen.drawing)
        await pen.until_queued(2)
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
    async with serves(Held()) as app:
        first, late = await second(app, path, SOON, begun=pen.drawing)
        await ended(late)
        pen.gate.set()
        await ended(first)
    assert (first.status, late.status, pen.drawn) == (200, 504, 1)


@pytest.mark.parametrize("path", [*BODIES, "/preview"])
async def test_a_body_that_does_not_come_in_time_is_not_waited_for(path: str) -> None:
    async with serves(Held(), request_timeout_ms=300) as app:
        client = Client(app, None, path=path)
        await ended(client)
    assert (client.status, client.problem["code"]) == (504, "deadline_exceeded")


@pytest.mark.parametrize("path", ["/explain", "/embed"])  # of the others it is tested where they are
async def test_where_the_queue_is_full_no_body_is_waited_for(path: str) -> None:
    engine = Held()
    async with serves(engine, max_queue=1, max_images=1) as app:
        engine.armed = True
        first = Client(app, RED)
        assert await asyncio.to_thread(engine.running.wait, 10)
        await check_refused_unread(app, path)
        engine.gate.set()
        await ended(first)


@pytest.mark.parametrize("path", DRAWING)
async def test_where_too_many_pictures_are_to_be_drawn_no_body_is_waited_for(
    path: str, pen: Pen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.prediction.classifier.MAX_PREVIEWS", 1)
    async with serves(Held()) as app:
        first = Client(app, RED, path="/preview")
        assert await asyncio.to_thread(pen.drawing.wait, 10)
        await check_refused_unread(app, path)
        pen.gate.set()
        await ended(first)


async def check_refused_unread(app: FastAPI, path: str) -> None:
    refused = Client(app, None, path=path)
    await ended(refused)
    assert (refused.status, refused.asked) == (429, 0)
    assert b"retry-after" in refused.headers
