"""A load is what it says: so many requests a second, counted by what became of them, timed from when they were due."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import pytest
import uvloop

from tools.load.client import LoadClient
from tools.load.loops import closed_loop, open_loop
from tools.load.messages import Message, post
from tools.load.result import OK

BODY = b"photo" * 100


@asynccontextmanager
async def server(
    answer: Callable[[int], tuple[int, float]], tail: str = "Content-Length: 2\r\n\r\nok"
) -> AsyncIterator[str]:
    """Serve HTTP that answers request n with a status after some seconds, both given by `answer(n)`, byte by byte."""
    numbers = count()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                assert b"POST /predict" in head
                assert await reader.readexactly(len(BODY)) == BODY
                status, delay_s = answer(next(numbers))
                await asyncio.sleep(delay_s)
                for letter in f"HTTP/1.1 {status} X\r\n{tail}":
                    writer.write(letter.encode())
                    await asyncio.sleep(0)
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()

    async with await asyncio.start_server(talk, "127.0.0.1", 0) as listener:
        yield f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"


async def test_every_request_of_a_constant_rate_is_sent_and_counted_by_its_status() -> None:
    async with server(lambda number: (429 if number % 4 == 0 else 200, 0)) as url:
        result = await open_loop(url, [Message(post(url, BODY))], rate_per_s=200, seconds=0.5)
    assert result.counts == {"200": 75, "429": 25}
    assert 0 < result.goodput_per_s <= 150  # those that end after the last was sent count in `counts` alone
    assert result.offered_per_s == pytest.approx(200)
    assert len(result.latencies_ms(OK)) == 75


async def test_an_answer_in_chunks_is_whole_when_the_last_one_has_come() -> None:
    bodies = []
    tail = "Transfer-Encoding: chunked\r\n\r\n3\r\n0\r\n\r\nA;x=y\r\n0123456789\r\n0\r\n\r\n"
    async with server(lambda _: (200, 0), tail) as url:
        message = Message(post(url, BODY), on_answer=lambda _, body: bodies.append(body))
        result = await open_loop(url, [message], rate_per_s=8, seconds=0.5, max_connections=1)
    assert result.counts == {"200": 4}
    assert bodies == [b"0\r\n0123456789"] * 4


async def test_latency_counts_from_when_a_request_was_due_however_late_it_was_sent() -> None:
    async with server(lambda _: (200, 0.05)) as url:
        message = Message(post(url, BODY))
        result = await open_loop(url, [message], rate_per_s=100, seconds=0.2, max_connections=1)
    # On one connection each of the 20 waits for those before it: the last for about 19 × 50 ms less 190 ms.
    assert result.counts == {"200": 20}
    assert max(result.latencies_ms(OK)) > 600


async def test_a_closed_loop_sends_when_it_was_answered_and_never_more_than_its_connections() -> None:
    under_way = most = 0

    def answer(_: int) -> tuple[int, float]:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        asyncio.get_running_loop().call_later(0.01, done)
        return 200, 0.01

    def done() -> None:
        nonlocal under_way
        under_way -= 1

    async with server(answer) as url:
        result = await closed_loop(url, [Message(post(url, BODY))], connections=4, seconds=0.3)
    assert 0 < result.counts["200"] <= 4 * 32
    assert 2 <= most <= 8


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_a_client_is_closed_however_far_its_connections_are_opened(
    run: Callable[[Coroutine[Any, Any, None]], None],
) -> None:
    async def close_after(turns: int) -> None:
        async with server(lambda _: (200, 0)) as url:
            client = LoadClient(url)
            client.send(Message(post(url, BODY)), time.perf_counter())
            for _ in range(turns):
                await asyncio.sleep(0)
            await asyncio.wait_for(client.close(), 10)

    for turns in range(10):
        run(close_after(turns))


async def test_what_takes_too_long_or_cannot_connect_is_no_answer() -> None:
    async with server(lambda _: (200, 5)) as url:
        result = await open_loop(url, [Message(post(url, BODY))], rate_per_s=20, seconds=0.2, timeout_s=0.1)
        assert result.counts == {"timeout": 4}
    result = await open_loop(url, [Message(post(url, BODY))], rate_per_s=20, seconds=0.2)
    assert result.counts == {"error": 4}
