"""What becomes of an image whose client left, on the real application and a model that a test holds back."""

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from app.config import Settings
from app.engines.base import Pixels, Probabilities
from app.main import create_app
from app.model.model import Model
from tests.support.data import solid
from tests.support.fakes import COLOURS, ColourEngine, colour_model, serving


class Held(ColourEngine):
    """Counts images once it is armed, and waits for its gate before it answers."""

    def __init__(self) -> None:
        self.gate, self.running = threading.Event(), threading.Event()
        self.armed, self.ran = False, 0

    def predict(self, images: Sequence[Pixels]) -> Probabilities:
        """Answer once the gate is open."""
        if self.armed:
            self.running.set()
            assert self.gate.wait(10)
            self.ran += len(images)
        return super().predict(images)


class Client:
    """One request at the ASGI border, whose client may leave."""

    def __init__(self, app: Any, body: bytes) -> None:
        self.left = asyncio.Event()
        self.sent: list[Any] = []
        self._body: bytes | None = body
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": "POST",
            "path": "/predict",
            "raw_path": b"/predict",
            "query_string": b"",
            "headers": [(b"content-type", b"image/png")],
            "state": {},
        }
        self.task = asyncio.create_task(app(scope, self._receive, self._send))

    async def _receive(self) -> dict[str, Any]:
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        self.sent.append(message)

    @property
    def status(self) -> int:
        return int(self.sent[0]["status"])


async def get(app: Any, path: str) -> bytes:
    body = b""

    async def keep(message: Any) -> None:
        nonlocal body
        body += message.get("body", b"")

    scope = {"type": "http", "method": "GET", "path": path, "headers": [], "query_string": b"", "state": {}}
    await app(scope, None, keep)
    return body


async def ready(app: Any) -> None:
    while b"ready" not in await get(app, "/readyz"):
        await asyncio.sleep(0.01)


async def test_an_image_whose_client_left_is_never_run_and_the_others_are() -> None:
    engine, model = Held(), colour_model()
    held = Model(engine, model.variant, model.labels, "held", "0" * 64, published=False)
    app = create_app(Settings(max_batch_size=1), serving(held))
    image = solid(COLOURS["red"])
    async with app.router.lifespan_context(app):
        await ready(app)
        engine.armed = True
        first = Client(app, image)
        await asyncio.to_thread(engine.running.wait, 10)
        leaver, stayer = Client(app, image), Client(app, image)
        await asyncio.sleep(0.2)
        leaver.left.set()
        await asyncio.wait_for(leaver.task, 5)
        engine.gate.set()
        await asyncio.wait_for(asyncio.gather(first.task, stayer.task), 5)
    assert (first.status, stayer.status, leaver.status) == (200, 200, 499)
    assert b'mobilenet_dropped_total{reason="departed"} 1.0' in await get(app, "/metrics")
    assert engine.ran == 2


async def test_a_client_that_leaves_while_it_uploads_is_no_error_of_ours(caplog: pytest.LogCaptureFixture) -> None:
    app = create_app(Settings(), serving(colour_model()))
    async with app.router.lifespan_context(app):
        await ready(app)
        client = Client(app, b"")
        client._body = None  # nothing ever came
        client.left.set()
        await asyncio.wait_for(client.task, 5)
    assert client.status == 499
    assert not [record for record in caplog.records if record.levelname in ("ERROR", "CRITICAL")]


async def test_a_full_queue_refuses_a_request_without_waiting_for_its_body() -> None:
    engine, model = Held(), colour_model()
    held = Model(engine, model.variant, model.labels, "held", "0" * 64, published=False)
    app = create_app(Settings(max_batch_size=1, max_queue=1, max_images=1), serving(held))
    async with app.router.lifespan_context(app):
        await ready(app)
        engine.armed = True
        first = Client(app, solid(COLOURS["red"]))
        await asyncio.to_thread(engine.running.wait, 10)
        refused = Client(app, b"")
        refused._body = None  # nothing ever comes
        await asyncio.wait_for(refused.task, 5)
        engine.gate.set()
        await asyncio.wait_for(first.task, 5)
    assert (first.status, refused.status) == (200, 429)
