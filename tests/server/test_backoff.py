"""Who was refused because of too many requests is heard again a moment later, together with the others."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from app.server import backoff
from app.server.backoff import Backoff
from app.server.protocol import RESTING_BYTES
from tests.support.http11 import Client, answer, connected, refuse

REST_S = 0.3
"""In these tests, so that what comes meanwhile certainly comes meanwhile."""
REFUSED, SERVED = (b"HTTP/1.1 429 Too Many Requests", b"later"), (b"HTTP/1.1 200 OK", b"photo")


class Application:
    """Refuses what is asked for at `/busy`, answers the rest, and notes the paths in the order of their coming."""

    def __init__(self) -> None:
        self.paths: list[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.paths.append(scope["path"])
        if scope["path"] == "/busy":
            await refuse(scope, receive, send)
        else:
            await answer(send, 200, b"photo")


@asynccontextmanager
async def clients(app: Any, count: int) -> AsyncIterator[list[Client]]:
    """Yield connections to one server."""
    async with connected(app) as first, AsyncExitStack() as stack:
        others = []
        for _ in range(count - 1):
            reader, writer = await asyncio.open_connection("127.0.0.1", first.port)
            stack.callback(writer.close)
            others.append(Client(reader, writer))
        yield [first, *others]


def ask(client: Client, path: str, body: bytes = b"") -> None:
    client.send(b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (path.encode(), len(body), body))


async def answered(client: Client) -> tuple[bytes, bytes]:
    return await client.head(), await client.body()


@pytest.fixture
def long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backoff, "REST_S", REST_S)


@pytest.mark.usefixtures("long")
async def test_who_was_refused_waits_while_others_are_answered() -> None:
    app = Application()
    async with clients(app, 3) as (one, two, other):
        for client in (one, two):
            ask(client, "/busy")
            assert await answered(client) == REFUSED
        ask(one, "/one")
        ask(two, "/two")
        for _ in range(3):
            ask(other, "/other")
            assert await answered(other) == SERVED
        assert app.paths == ["/busy", "/busy", "/other", "/other", "/other"]
        assert [await answered(client) for client in (one, two)] == [SERVED, SERVED]
        ask(one, "/one")  # who is not refused any more does not wait any more
        assert await asyncio.wait_for(answered(one), REST_S / 2) == SERVED


@pytest.mark.usefixtures("long")
async def test_much_that_comes_meanwhile_is_read_at_once() -> None:
    """So nothing that a client sends can fill the memory of the kernel, and then wait for ever."""
    app = Application()
    async with clients(app, 1) as (client,):
        ask(client, "/busy")
        assert await answered(client) == REFUSED
        ask(client, "/large", bytes(2 * RESTING_BYTES))
        assert await asyncio.wait_for(answered(client), REST_S / 2) == SERVED


@pytest.mark.usefixtures("long")
async def test_the_rest_of_a_refused_body_is_read_before_the_next_request() -> None:
    app = Application()
    async with clients(app, 1) as (client,):
        client.send(b"POST /busy HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nphoto")
        assert await answered(client) == REFUSED
        client.send(b"photo")
        ask(client, "/next")
        assert await answered(client) == SERVED
        assert app.paths == ["/busy", "/next"]


@pytest.mark.usefixtures("long")
async def test_who_leaves_meanwhile_is_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    async with clients(Application(), 2) as (one, two):
        for client in (one, two):
            ask(client, "/busy")
            assert await answered(client) == REFUSED
        one.leave()
        ask(two, "/two")
        assert await answered(two) == SERVED
    assert not caplog.records


async def test_all_that_rest_go_on_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backoff, "REST_S", 0.01)
    said: list[str] = []
    ended = asyncio.Event()

    class Connection:
        def __init__(self, name: str) -> None:
            self.name = name

        def rest(self) -> None:
            said.append(f"{self.name} rests")

        def go_on(self) -> None:
            said.append(f"{self.name} goes on")
            if self.name == "b":
                ended.set()

    shared = Backoff()
    for _ in range(2):
        for name in "ab":
            shared.add(Connection(name))
        await asyncio.wait_for(ended.wait(), 5)
        ended.clear()
    assert said == ["a rests", "b rests", "a goes on", "b goes on"] * 2
