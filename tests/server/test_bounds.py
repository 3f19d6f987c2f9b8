"""What one connection may cost, and that whoever is cut off or refused still gets the answers that are due."""

import asyncio
import itertools
from typing import Any

import pytest

from app.server import deadline, protocol, sending
from app.server.exchange import Exchange
from tests.support.http11 import HEAD, answer, connected, echo, refuse

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
OK, BAD, FULL = b"HTTP/1.1 200 OK", b"HTTP/1.1 400 Bad Request", b"HTTP/1.1 429 Too Many Requests"
LARGE = 32 * 2**20
"""More than the system keeps for a connection."""
SHORT_S = 0.3


async def large(scope: Any, receive: Any, send: Any) -> None:
    """Answer with more than the system keeps for a client that does not read."""
    await answer(send, 200, bytes(LARGE))


async def gone(served: set[Any]) -> None:
    """Wait until the server has no connection any more."""
    async with asyncio.timeout(10):
        while served:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    "asked", [GET, GET + GET, GET[:-2] + b"Connection: close\r\n\r\n"], ids=["one", "two", "the last"]
)
async def test_a_client_that_takes_nothing_of_its_answer_is_cut_off(
    monkeypatch: pytest.MonkeyPatch, asked: bytes
) -> None:
    monkeypatch.setattr(sending, "TAKING_S", SHORT_S)
    async with connected(large, reads=False) as client:
        client.send(asked)
        await gone(client.served)


async def test_a_client_that_sends_no_more_and_takes_nothing_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "TAKING_S", SHORT_S)
    async with connected(large, reads=False) as client:
        client.send(HEAD + b"\r\npho")
        async with asyncio.timeout(10):
            while not client.served:
                await asyncio.sleep(0.001)
        for connection in client.served:  # so that this is no reason to look whether it takes something
            connection._transport.set_write_buffer_limits(high=2 * LARGE)
        client.send(b"to")
        client.end_sending()
        await gone(client.served)


async def test_a_client_that_sends_no_more_gets_all_of_an_answer_that_is_under_way() -> None:
    async with connected(large) as client:
        client.send(GET)
        assert await client.head() == OK
        client.end_sending()
        assert await client.exactly(LARGE) == bytes(LARGE)
        assert await client.end() == b""


async def test_a_client_that_takes_its_answer_slowly_gets_all_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "TAKING_S", SHORT_S)
    monkeypatch.setattr(deadline, "READ_S", SHORT_S)
    async with connected(large) as client:
        client.send(GET)
        assert await client.head() == OK
        for _ in range(16):
            await client.exactly(LARGE // 16)
            await asyncio.sleep(SHORT_S / 3)


async def test_trailers_are_no_headers() -> None:
    names: list[bytes] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        names.extend(name for name, _ in scope["headers"])
        await answer(send, 200, b"photo")

    async with connected(application) as client:
        client.send(CHUNKED + b"5\r\nphoto\r\n0\r\nX-Trailer: 1\r\n\r\n" + GET)
        for _ in range(2):
            assert (await client.head(), await client.body()) == (OK, b"photo")
    assert names == [b"host", b"transfer-encoding", b"host"]


@pytest.mark.parametrize("endless", [b"0\r\n" + 9_000 * b"X-Trailer: 1\r\n", b"5;" + 200_000 * b"x"])
async def test_what_is_not_body_is_bounded_behind_the_headers_too(endless: bytes) -> None:
    async with connected(echo) as client:
        client.send(CHUNKED + b"5\r\nphoto\r\n")
        for start in range(0, len(endless), 10_000):
            client.send(endless[start : start + 10_000])
            await asyncio.sleep(0)
        assert await client.head() == BAD
        assert b"more than 65,536 bytes" in await client.end()


async def test_a_body_in_the_smallest_chunks_may_be_long() -> None:
    async with connected(echo) as client:
        client.send(CHUNKED + 50_000 * b"1\r\nx\r\n" + b"0\r\n\r\n")
        assert await client.head() == OK
        assert await client.exactly(50_000) == 50_000 * b"x"


async def test_a_head_that_comes_at_once_may_not_be_longer_either() -> None:
    async with connected(echo) as client:
        client.send(HEAD + b"X-Long: " + bytes(70_000).replace(b"\0", b"x") + b"\r\n\r\nphoto")
        assert await client.head() == BAD


async def test_no_more_requests_are_read_while_many_are_waiting() -> None:
    turns = asyncio.Semaphore(0)

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await turns.acquire()
        await answer(send, 200, b"photo")

    asked = GET[:-2] + b"X-Long: " + bytes(4096).replace(b"\0", b"x") + b"\r\n\r\n"  # not too many of them in one read
    async with connected(application) as client:
        client.send(asked * (LARGE // len(asked)))
        for _ in range(100):
            turns.release()
            assert (await client.head(), await client.body()) == (OK, b"photo")
        unsent_bytes = client.unsent_bytes
        client.abort()
        for _ in range(LARGE // len(asked)):  # more than can be waiting, until writing to the client fails
            turns.release()
    assert unsent_bytes > LARGE / 2  # if each answer let a read of 256 KB follow, it would be less


async def test_of_many_requests_in_one_read_few_are_begun_at_once_and_all_are_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun: list[Any] = []

    class Counted(Exchange):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            begun.append(self)

    unanswered: list[int] = []
    answered = itertools.count()

    async def application(scope: Any, receive: Any, send: Any) -> None:
        unanswered.append(len(begun) - next(answered))
        await answer(send, 200, b"photo")

    monkeypatch.setattr(protocol, "Exchange", Counted)
    monkeypatch.setattr(protocol, "PIECE_BYTES", 10 * len(GET))
    async with connected(application) as client:
        client.send(300 * GET)
        for _ in range(300):
            assert (await client.head(), await client.body()) == (OK, b"photo")
    assert max(unanswered) <= protocol.MOST_WAITING + 10


async def test_a_client_that_leaves_is_noticed_by_the_request_that_runs_and_not_by_the_last_one() -> None:
    told: list[tuple[str, str]] = []
    began = asyncio.Event()

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        began.set()
        told.append((scope["path"], (await receive())["type"]))

    async with connected(application) as client:
        client.send(GET.replace(b"/ ", b"/1 ") + GET)
        await asyncio.wait_for(began.wait(), 5)
        client.leave()
        await gone(client.served)
    assert told == [("/1", "http.disconnect")]


@pytest.mark.parametrize("field", [b"", b"Connection: close\r\n"])
async def test_a_client_that_still_sends_gets_its_early_answer(field: bytes) -> None:
    async with connected(refuse) as client:
        client.send(HEAD.replace(b"5", b"%d" % LARGE) + field + b"\r\n" + bytes(LARGE))
        assert await client.head() == FULL
        assert await client.body() == b"later"


async def test_a_client_that_still_sends_is_told_what_was_no_http() -> None:
    async with connected(echo) as client:
        client.send(b"no HTTP\r\n\r\n" + bytes(LARGE))
        assert await client.head() == BAD
        assert b"malformed_request" in await client.end()


async def slow(scope: Any, receive: Any, send: Any) -> None:
    """Answer later than the times of these tests, or at once."""
    if scope["path"] == "/":
        await receive()
        await asyncio.sleep(5 * SHORT_S)
    await answer(send, 200, b"photo")


async def test_blank_lines_behind_a_request_do_not_end_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEADERS_S", SHORT_S)
    async with connected(slow) as client:
        client.send(GET)
        await asyncio.sleep(0.05)  # in a read of their own
        client.send(b"\r\n")
        assert (await client.head(), await client.body()) == (OK, b"photo")


async def test_a_request_has_its_time_though_the_body_of_the_one_before_ended_just_now() -> None:
    async with connected(slow, idle_s=1) as client:
        client.send(HEAD.replace(b"/ ", b"/early ") + b"\r\npho")
        assert (await client.head(), await client.body()) == (OK, b"photo")
        client.send(b"to" + GET)  # in one read
        assert (await client.head(), await client.body()) == (OK, b"photo")


@pytest.mark.parametrize("fault", [b"no HTTP\r\n\r\n", CHUNKED + b"no chunk\r\n"], ids=["a request", "its body"])
async def test_what_is_no_http_does_not_take_the_answers_of_the_requests_before(fault: bytes) -> None:
    async with connected(slow) as client:
        client.send(GET + HEAD + b"\r\nphoto" + fault)
        for _ in range(2):
            assert (await client.head(), await client.body()) == (OK, b"photo")
        assert await client.head() == BAD
        assert b"malformed_request" in await client.end()


async def test_a_response_that_has_begun_is_not_interrupted_by_what_is_no_http() -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-length", b"10")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"first", "more_body": True})
        await asyncio.sleep(SHORT_S)
        await send({"type": "http.response.body", "body": b"after"})

    async with connected(application) as client:
        client.send(CHUNKED)
        assert (await client.head(), await client.body()) == (OK, b"first")
        client.send(b"no chunk\r\n")
        assert await client.end() == b"after"
