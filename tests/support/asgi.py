"""Requests at the ASGI border, whose client may leave when a test wants, and an engine that waits for its gate."""

import asyncio
import json
import threading
from collections.abc import Sequence
from typing import Any

from app.engines.base import Features, Pixels, Predictions
from tests.support.fakes import MosaicEngine


class Held(MosaicEngine):
    """Counts images once it is armed, and waits for its gate before it answers."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.running = threading.Event(), threading.Event()
        self.armed, self.ran = False, 0

    def observe(self, images: Sequence[Pixels]) -> tuple[Predictions, Features]:
        """Answer once the gate is open."""
        if self.armed:
            self.running.set()
            assert self.gate.wait(10)
            self.ran += len(images)
        return super().observe(images)


class Client:
    """One request at the ASGI border, whose client may leave."""

    def __init__(
        self,
        app: Any,
        body: bytes | None,
        *headers: tuple[bytes, bytes],
        query: bytes = b"",
        path: str = "/predict",
    ) -> None:
        """Send the body; None is one that never comes."""
        self.left = asyncio.Event()
        self.sent: list[Any] = []
        self.asked = 0
        self._body = body
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": "POST",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query,
            "headers": [(b"content-type", b"image/png"), *headers],
            "state": {},
        }
        self.task = asyncio.create_task(app(scope, self._receive, self._send))

    async def _receive(self) -> dict[str, Any]:
        self.asked += 1
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        self.sent.append(message)

    @property
    def status(self) -> int:
        """The status of the response."""
        return int(self.sent[0]["status"])

    @property
    def problem(self) -> Any:
        """The body of the response, which is JSON."""
        return json.loads(self.sent[1]["body"])

    @property
    def headers(self) -> dict[bytes, bytes]:
        """The headers of the response."""
        return dict(self.sent[0]["headers"])


async def ended(*clients: Client) -> None:
    """Wait until these requests have ended, and fail if one has not after five seconds.

    `asyncio.wait_for` would cancel it then, and what was to end it all along may swallow that: the test would pass.
    """
    _, waiting = await asyncio.wait([client.task for client in clients], timeout=5)
    assert not waiting
    for client in clients:
        client.task.result()


async def get(app: Any, path: str) -> bytes:
    """Return the body of the response to GET."""
    body = b""

    async def keep(message: Any) -> None:
        nonlocal body
        body += message.get("body", b"")

    scope = {"type": "http", "method": "GET", "path": path, "headers": [], "query_string": b"", "state": {}}
    await app(scope, None, keep)
    return body


async def admitted(app: Any, images: int) -> None:
    """Wait until so many images are admitted and not answered yet."""
    async with asyncio.timeout(10):
        while f"\nmobilenet_queue_images {images}.0\n".encode() not in await get(app, "/metrics"):
            await asyncio.sleep(0.01)


async def ready(app: Any) -> None:
    """Wait until the model of an application whose lifespan has begun is loaded."""
    while b"ready" not in await get(app, "/readyz"):
        await asyncio.sleep(0.01)
