"""What the protocol promises to slow clients, over real connections to small applications."""

import asyncio
import gc
import socket
import time
import weakref
from typing import Any

import pytest
import uvloop

from app.api.security import RAW_HEADERS
from app.server import linger, protocol
from tests.support.http11 import HEAD, connected, echo, refuse

H2C = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
BOUND_S = 0.2
"""The times of the protocol in these tests."""


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEADERS_S", BOUND_S)
    monkeypatch.setattr(linger, "LINGER_S", BOUND_S)


@pytest.mark.parametrize("offer", [b"", H2C], ids=["none", "h2c"])
async def test_who_expects_to_be_told_to_go_on_is_told_so_and_answered(offer: bytes) -> None:
    async with connected(echo) as client:
        client.send(HEAD + offer + b"Expect: 100-continue\r\n\r\n")
        assert await client.head() == b"HTTP/1.1 100 Continue"
        client.send(b"photo")
        assert (await client.head(), await client.body()) == (b"HTTP/1.1 200 OK", b"photo")


async def test_a_client_of_http_1_0_is_not_told_to_go_on() -> None:
    async with connected(echo) as client:
        client.send(HEAD.replace(b"1.1", b"1.0") + b"Expect: 100-continue\r\n\r\nphoto")
        assert await client.head() == b"HTTP/1.1 200 OK"


async def test_who_expects_to_be_told_to_go_on_is_refused_at_once() -> None:
    async with connected(refuse) as client:
        client.send(HEAD + b"Expect: 100-continue\r\n\r\n")
        assert await client.head() == b"HTTP/1.1 429 Too Many Requests"


async def test_all_requests_that_have_come_are_answered_by_a_server_that_stops() -> None:
    turn = asyncio.Event()

    async def in_turn(scope: Any, receive: Any, send: Any) -> None:
        await turn.wait()
        await echo(scope, receive, send)

    async with connected(in_turn) as client:
        client.send(3 * (HEAD + b"\r\nphoto"))
        async with asyncio.timeout(5):
            while not client.served or len(next(iter(client.served))._unanswered) < 3:
                await asyncio.sleep(0.01)
        (connection,) = client.served
        connection.shutdown()
        turn.set()
        for _ in range(3):
            assert (await client.head(), await client.body()) == (b"HTTP/1.1 200 OK", b"photo")
        assert await client.end() == b""


@pytest.mark.usefixtures("short")
async def test_a_body_has_more_time_than_the_headers() -> None:
    async with connected(echo) as client:
        for _ in range(2):
            client.send(HEAD + b"\r\npho")
            await asyncio.sleep(2 * BOUND_S)
            client.send(b"to")
            assert (await client.head(), await client.body()) == (b"HTTP/1.1 200 OK", b"photo")


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("rest", [b"", b"POST / HTTP/1.1\r\nHost"], ids=["nothing", "a part"])
async def test_headers_that_do_not_come_in_time_end_the_connection(rest: bytes) -> None:
    async with connected(echo) as client:
        client.send(rest)
        assert await client.end() == b""


@pytest.mark.usefixtures("short")
async def test_the_headers_of_a_second_request_have_no_more_time() -> None:
    async with connected(echo, idle_s=60) as client:
        client.send(HEAD + b"\r\nphoto")
        assert (await client.head(), await client.body()) == (b"HTTP/1.1 200 OK", b"photo")
        client.send(b"POST / HTTP/1.1\r\nHost")
        assert await client.end() == b""


async def test_the_bound_on_headers_is_that_of_each_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEADERS_BYTES", 2 * len(HEAD))
    async with connected(echo) as client:
        for _ in range(4):
            client.send(HEAD)
            await asyncio.sleep(0.05)  # or the rest would come in the same read
            client.send(b"\r\nphoto")
            assert (await client.head(), await client.body()) == (b"HTTP/1.1 200 OK", b"photo")
        client.send(HEAD + b"X-Long: " + b"x" * len(HEAD))
        assert await client.head() == b"HTTP/1.1 400 Bad Request"


async def test_a_refusal_of_what_is_no_http_has_the_headers_of_every_answer() -> None:
    date = (b"date", b"Mon, 30 Nov 2026 12:00:00 GMT")
    async with connected(echo) as client:
        client.send(HEAD + b"\r\nphoto")
        assert (await client.head(), await client.body()) == (b"HTTP/1.1 200 OK", b"photo")
        for connection in client.served:
            connection.default_headers.append(date)
        client.send(b"nonsense\r\n\r\n")
        first, *fields = (await client.end()).partition(b"\r\n\r\n")[0].split(b"\r\n")
    assert first == b"HTTP/1.1 400 Bad Request"
    assert {tuple(field.split(b": ")) for field in fields} >= {date, *RAW_HEADERS}


@pytest.mark.parametrize(
    ("sent", "says"),
    [
        (b"\x16\x03\x01\x02\0\1\0\1\xfc\3\3", "this is TLS, and the port speaks plain HTTP"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "this is HTTP/2, and the port speaks HTTP/1.1; gRPC has a port"),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 80\r\n", "this is the PROXY protocol"),
        (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c", "this is the PROXY protocol"),
        (HEAD.replace(b"5", b"5\r\nContent-Length: 5") + b"\r\n", "this is not valid HTTP: Duplicate Content-Length"),
    ],
    ids=["TLS", "HTTP/2", "PROXY 1", "PROXY 2", "two lengths"],
)
async def test_who_speaks_another_protocol_is_told_so(sent: bytes, says: str) -> None:
    async with connected(echo) as client:
        client.send(sent)
        answer = await client.end()
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert says in answer.decode()


@pytest.mark.parametrize(
    "asked",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nhost: y\r\n\r\n",
        b"GET / HTTP/1.0\r\nHost: x\r\nHost: x\r\n\r\n",
    ],
    ids=["none", "two", "two in 1.0"],
)
async def test_a_request_that_does_not_name_one_host_is_refused(asked: bytes) -> None:
    async with connected(echo) as client:
        client.send(asked)
        assert await client.head() == b"HTTP/1.1 400 Bad Request"
        assert b"must have exactly one Host header" in await client.end()


@pytest.mark.usefixtures("short")
async def test_between_two_requests_a_connection_may_be_idle_for_longer() -> None:
    async with connected(echo) as client:
        for _ in range(2):
            client.send(HEAD + b"\r\nphoto")
            assert (await client.head(), await client.body()) == (b"HTTP/1.1 200 OK", b"photo")
            await asyncio.sleep(2 * BOUND_S)


@pytest.mark.usefixtures("short")
async def test_a_connection_whose_body_comes_after_its_answer_goes_on() -> None:
    async with connected(refuse) as client:
        for _ in range(2):
            client.send(HEAD + b"\r\npho")
            assert (await client.head(), await client.body()) == (b"HTTP/1.1 429 Too Many Requests", b"later")
            client.send(b"to")
            await asyncio.sleep(2 * BOUND_S)


@pytest.mark.usefixtures("short")
async def test_a_connection_whose_body_never_comes_ends_soon_after_its_answer() -> None:
    async with connected(refuse) as client:
        client.send(HEAD + b"\r\npho")
        assert (await client.head(), await client.body()) == (b"HTTP/1.1 429 Too Many Requests", b"later")
        assert await client.end() == b""


@pytest.mark.parametrize("field", [b"", b"Connection: close\r\n"], ids=["goes on", "ends"])
async def test_a_client_that_sends_for_long_after_its_answer_is_not_cut_off(
    field: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(linger, "LINGER_S", 1)
    async with connected(refuse) as client:
        client.send(HEAD.replace(b"5", b"10") + field + b"\r\n")
        for _ in range(8):
            await asyncio.sleep(0.2)
            client.send(b"x")
        assert client.served, "it is still connected"
        assert (await client.head(), await client.body()) == (b"HTTP/1.1 429 Too Many Requests", b"later")


@pytest.mark.parametrize("field", [b"", b"Connection: close\r\n"], ids=["goes on", "ends"])
@pytest.mark.parametrize(("bound", "most"), [("LONGEST_LINGER_S", BOUND_S), ("LINGER_BYTES", 10)])
async def test_a_client_that_never_ends_to_send_after_its_answer_is_cut_off(
    field: bytes, bound: str, most: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(linger, bound, most)
    async with connected(refuse) as client:
        client.send(HEAD.replace(b"5", b"1000000") + field + b"\r\n")
        assert await client.head() == b"HTTP/1.1 429 Too Many Requests"
        async with asyncio.timeout(10):
            while client.served:
                client.send(b"x")
                await asyncio.sleep(0.001)


async def test_a_connection_that_has_ended_leaves_no_garbage_behind() -> None:
    gc.disable()
    try:
        async with connected(echo) as client:
            client.send(HEAD + H2C + b"\r\nphoto")
            assert (await client.head(), await client.body()) == (b"HTTP/1.1 200 OK", b"photo")
            (connection,) = map(weakref.ref, client.served)
            client.leave()
            async with asyncio.timeout(10):
                while connection():
                    await asyncio.sleep(0.001)
    finally:
        gc.enable()


class Stopper(asyncio.Protocol):
    """Keeps the loop from turning for a while, as it is when the process is stopped."""

    def data_received(self, data: bytes) -> None:
        """Block the loop while it handles what has come, so that next it looks for timers that are over."""
        time.sleep(1.5)


@pytest.mark.parametrize("before", [0, 1], ids=["the first", "one after another"])
def test_a_request_that_came_while_the_process_stood_still_is_answered(
    monkeypatch: pytest.MonkeyPatch, before: int
) -> None:
    monkeypatch.setattr(protocol, "HEADERS_S", 1)
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nphoto"

    def talk(port: int, stopper: int) -> bytes:
        with (
            socket.create_connection(("127.0.0.1", port), timeout=10) as connection,
            socket.create_connection(("127.0.0.1", stopper)) as stop,
            connection.makefile("rb") as answers,
        ):
            for _ in range(before):
                connection.sendall(HEAD + b"\r\nphoto")
                assert answers.read(len(answer)) == answer
            stop.sendall(b"now")
            time.sleep(0.2)
            connection.sendall(HEAD + b"\r\nphoto")
            return answers.read(len(answer))

    async def served() -> bytes:
        stopper = await asyncio.get_running_loop().create_server(Stopper, "127.0.0.1", 0)
        async with connected(echo, idle_s=1) as client, stopper:
            return await asyncio.to_thread(talk, client.port, stopper.sockets[0].getsockname()[1])

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(served()) == answer
