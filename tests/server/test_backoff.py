"""Who was refused because of too many requests is heard again a moment later, together with the others."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from typing import Any
from unittest.mock import Mock

import pytest
import uvloop

from app.server import backoff
from app.server.backoff import Backoff
from app.server.reading import RESTING_BYTES
from tests.support.http11 import Client, answer, connected, echo, refuse

REST_S = 0.6
"""In these tests, so that what comes meanwhile certainly comes meanwhile."""
REFUSED, SERVED = (b"HTTP/1.1 429 Too Many Requests", b"later"), (b"HTTP/1.1 200 OK", b"photo")


class Application:
    """Refuses what is asked for at `/busy`, answers the rest, and notes the paths in the order of their coming.

    At `/echo` it reads the body, and answers with it.
    """

    def __init__(self) -> None:
        self.paths: list[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.paths.append(scope["path"])
        if scope["path"] == "/busy":
            await refuse(scope, receive, send)
        elif scope["path"] == "/echo":
            await echo(scope, receive, send)
        else:
            await answer(send, 200, b"photo")


@asynccontextmanager
async def clients(app: Any, count: int) -> AsyncIterator[list[Client]]:
    """Yield connections to one server."""
    async with connected(app) as first:
        with ExitStack() as stack:
            others = [Client(*await asyncio.open_connection("127.0.0.1", first.port)) for _ in range(count - 1)]
            for other in others:
                stack.callback(other.leave)
            yield [first, *others]


def ask(client: Client, path: str, body: bytes = b"") -> None:
    client.send(b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (path.encode(), len(body), body))


async def answered(client: Client) -> tuple[bytes, bytes]:
    return await client.head(), await client.body()


async def refused(client: Client) -> None:
    ask(client, "/busy")
    assert await answered(client) == REFUSED


@pytest.fixture
def long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backoff, "REST_S", REST_S)


@pytest.fixture
def endless(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rest that does not end before the test has failed."""
    monkeypatch.setattr(backoff, "REST_S", 60)


def test_a_rest_is_short() -> None:
    assert backoff.REST_S <= 0.02


@pytest.mark.usefixtures("endless")
@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_who_was_refused_waits_while_others_are_answered(loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def talk() -> None:
        app = Application()
        async with clients(app, 3) as (one, two, other):
            for client in (one, two):
                await refused(client)
            ask(one, "/one")
            ask(two, "/two")
            for _ in range(3):
                ask(other, "/other")
                assert await answered(other) == SERVED
            assert app.paths == ["/busy", "/busy", "/other", "/other", "/other"]
            next(iter(one.served))._backoff._end()
            assert [await answered(client) for client in (one, two)] == [SERVED, SERVED]
            ask(one, "/one")  # who is not refused any more does not wait any more
            assert await answered(one) == SERVED

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(talk())


LARGE = bytes(4 * RESTING_BYTES) + b"photo"


@pytest.mark.usefixtures("endless")
async def test_a_large_request_is_heard_at_once() -> None:
    """So that it cannot fill what the kernel has room for, and then wait for ever."""
    async with clients(Application(), 1) as (client,):
        await refused(client)
        ask(client, "/large", LARGE)
        assert await answered(client) == SERVED


@pytest.mark.usefixtures("long")
async def test_a_large_request_comes_whole() -> None:
    async with clients(Application(), 1) as (client,):
        await refused(client)
        ask(client, "/echo", LARGE)
        assert (await client.head(), await client.exactly(len(LARGE))) == (b"HTTP/1.1 200 OK", LARGE)


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
async def test_requests_that_are_sent_together_are_all_answered() -> None:
    async with clients(Application(), 1) as (client,):
        for path in ("/busy", "/busy", "/one", "/busy"):
            ask(client, path)
        found = [await answered(client) for _ in range(4)]
    assert found == [REFUSED, REFUSED, SERVED, REFUSED]


@pytest.mark.usefixtures("long")
async def test_who_leaves_meanwhile_is_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    async with clients(Application(), 2) as (one, two):
        for client in (one, two):
            await refused(client)
        one.leave()
        ask(two, "/two")
        assert await answered(two) == SERVED
    assert not caplog.records


LAST = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nphoto"


@pytest.mark.usefixtures("endless")
@pytest.mark.parametrize("first", [b"", b"photo"], ids=["whole", "in parts"])
@pytest.mark.parametrize("asks", [True, False])
async def test_what_came_meanwhile_is_answered_by_a_server_that_stops(asks: bool, first: bytes) -> None:
    async with connected(Application()) as client:
        client.send(b"POST /busy HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (2 * len(first), first))
        assert await answered(client) == REFUSED
        client.send(first)
        if asks:
            ask(client, "/last")
        await asyncio.sleep(0.2)
        (connection,) = client.served
        connection.shutdown()
        assert await client.end() == (LAST if asks else b"")


async def test_a_request_that_is_not_read_yet_is_answered_by_a_server_that_stops() -> None:
    async with connected(Application()) as client:
        ask(client, "/first")
        assert await answered(client) == SERVED
        ask(client, "/last")
        (connection,) = client.served
        connection.shutdown()
        assert await client.end() == LAST


class Resting:
    """A connection that notes what it is told."""

    def __init__(self, name: str, said: list[str]) -> None:
        self._name, self._said = name, said

    def rest(self) -> None:
        self._said.append(f"{self._name} rests")

    def go_on(self) -> None:
        self._said.append(f"{self._name} goes on")


def test_all_go_on_with_the_one_that_rested_first(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = Mock()
    monkeypatch.setattr(asyncio, "get_running_loop", lambda: loop)
    said: list[str] = []
    shared = Backoff()
    for times in (1, 2):
        for name in "ab":
            shared.add(Resting(name, said))
        assert loop.call_later.call_count == times
        seconds, end = loop.call_later.call_args.args
        assert seconds == backoff.REST_S
        end()
    assert said == ["a rests", "b rests", "a goes on", "b goes on"] * 2
