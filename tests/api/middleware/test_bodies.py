"""Large bodies at once are refused beyond what memory has room for, and give their room back."""

import asyncio
from typing import Any

import pytest

from app.api.middleware.bodies import LARGEST_AT_ONCE, Bodies
from app.errors import QueueFull

LARGEST = b"x" * 1000


class Held:
    """An application that reads a body to its end and answers when it is told to."""

    def __init__(self) -> None:
        self.read = 0
        self.go = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        while (await receive()).get("more_body"):
            pass
        self.read += 1
        await self.go.wait()


async def upload(bodies: Bodies, *chunks: bytes) -> None:
    messages = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
    messages[-1]["more_body"] = False

    async def receive() -> Any:
        return messages.pop(0)

    await bodies({"type": "http"}, receive, None)  # type: ignore[arg-type]


async def test_bodies_beyond_the_room_are_refused_until_others_are_answered() -> None:
    held = Held()
    bodies = Bodies(held, len(LARGEST))
    under_way = [asyncio.create_task(upload(bodies, LARGEST[:400], LARGEST[400:])) for _ in range(LARGEST_AT_ONCE)]
    while held.read < LARGEST_AT_ONCE:
        await asyncio.sleep(0)
    for _ in range(3):
        with pytest.raises(QueueFull, match="8,000 bytes") as caught:
            await upload(bodies, b"x")
        assert caught.value.headers["Retry-After"] == "1"
    held.go.set()
    await asyncio.gather(*under_way)
    await asyncio.gather(*(upload(bodies, LARGEST) for _ in range(LARGEST_AT_ONCE)))


async def test_a_request_that_fails_gives_the_room_of_its_body_back() -> None:
    async def bug(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        raise RuntimeError("a bug")

    bodies = Bodies(bug, len(LARGEST))
    for _ in range(LARGEST_AT_ONCE + 1):
        with pytest.raises(RuntimeError, match="a bug"):
            await upload(bodies, LARGEST)
