"""One request and its response: what an application gets to read, and what becomes of the responses that it sends."""

import asyncio
import gc
import weakref
from typing import Any

import pytest

from app.errors import MalformedRequest
from app.server import exchange
from tests.support.http11 import HEAD, answer, connected, echo, refuse

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
START = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]}
BODY = {"type": "http.response.body", "body": b"photo"}


def sending(*messages: dict[str, Any]) -> Any:
    """Return an application that sends these messages and ends."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        for message in messages:
            await send(message)

    return application


async def test_a_body_that_comes_in_pieces_is_read_at_once_but_a_long_one_in_parts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(exchange, "UNREAD_BYTES", 100_000)
    read: list[tuple[int, bool]] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        more = True
        while more:
            message = await receive()
            more = message["more_body"]
            read.append((len(message["body"]), more))
            await asyncio.sleep(0.1)  # meanwhile all that is read from the client gathers
        await answer(send, 200, b"photo")

    async with connected(application) as client:
        client.send(HEAD + b"\r\n")
        for piece in (b"ph", b"ot", b"o"):
            client.send(piece)
            await asyncio.sleep(0.05)
        assert await client.head() == b"HTTP/1.1 200 OK"
        assert await client.body() == b"photo"
        assert read == [(5, False)]
        read.clear()
        client.send(HEAD.replace(b"5", b"3000000") + b"\r\n" + bytes(3_000_000))
        assert await client.head() == b"HTTP/1.1 200 OK"
    assert sum(size for size, _ in read) == 3_000_000
    assert all(size < 500_000 for size, _ in read)  # what one read brings comes on top
    assert all(size >= 100_000 for size, more in read if more)


async def test_a_client_that_leaves_in_its_body_is_noticed() -> None:
    told: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def application(scope: Any, receive: Any, send: Any) -> None:
        told.set_result((await receive())["type"])

    async with connected(application) as client:
        client.send(HEAD + b"\r\npho")
        await asyncio.sleep(0.05)
    assert await asyncio.wait_for(told, 5) == "http.disconnect"


async def test_requests_that_are_sent_together_are_answered_in_their_order() -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(0.05 if scope["path"] == "/1" else 0)
        await answer(send, 200, b"path" + scope["path"][1:].encode())

    async with connected(application) as client:
        client.send(b"".join(GET.replace(b"/ ", b"/%d " % number) for number in (1, 2, 3)))
        for number in (1, 2, 3):
            assert await client.head() == b"HTTP/1.1 200 OK"
            assert await client.body() == b"path%d" % number


async def test_a_response_without_a_length_is_sent_in_chunks_and_the_connection_goes_on() -> None:
    start = {"type": "http.response.start", "status": 200}
    parts: list[dict[str, Any]] = [{**BODY, "more_body": True}, {"type": "http.response.body", "more_body": True}, BODY]
    async with connected(sending(start, *parts)) as client:
        for _ in range(2):
            client.send(GET)
            assert await client.head() == b"HTTP/1.1 200 OK"
            assert await client.exactly(25) == b"5\r\nphoto\r\n5\r\nphoto\r\n0\r\n\r\n"


async def test_a_response_without_a_length_ends_with_its_connection_for_a_client_of_http_1_0() -> None:
    start = {"type": "http.response.start", "status": 200}
    async with connected(sending(start, {**BODY, "more_body": True}, BODY)) as client:
        client.send(b"GET / HTTP/1.0\r\n\r\n")
        assert await client.end() == b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nphotophoto"


@pytest.mark.parametrize(
    "asked",
    [
        b"GET / HTTP/1.0\r\n\r\n",
        b"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n",
        GET[:-2] + b"Connection: close\r\n\r\n",
    ],
    ids=["1.0", "1.0 of ApacheBench", "1.1"],
)
async def test_a_client_of_http_1_0_or_that_wants_it_has_the_connection_closed_and_is_told_so(asked: bytes) -> None:
    async with connected(sending(START, BODY)) as client:
        client.send(asked)
        assert await client.end() == b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nphoto"


@pytest.mark.parametrize(
    ("asked", "start"),
    [(GET.replace(b"GET", b"HEAD"), START), (GET, {"type": "http.response.start", "status": 204})],
    ids=["HEAD", "204"],
)
async def test_a_response_that_has_no_body_ends_with_its_head(asked: bytes, start: dict[str, Any]) -> None:
    body = BODY if start is START else {"type": "http.response.body"}
    async with connected(sending(start, body)) as client:
        for _ in range(2):
            client.send(asked)
            assert (await client.head()).startswith(b"HTTP/1.1 20")


@pytest.mark.parametrize(
    "messages",
    [
        (),
        (BODY,),
        (START,),
        ({**START, "headers": [(b"x-injected", b"1\r\nset-cookie: a")]}, BODY),
        ({**START, "headers": [(b"x-injected: 1\r\nset-cookie", b"a")]}, BODY),
        (START, START),
        (START, {**BODY, "body": b"too long"}),
        (START, {**BODY, "body": b"pho"}),
    ],
    ids=["nothing", "no head", "no body", "value", "name", "two heads", "long", "short"],
)
async def test_an_application_that_sends_no_response_is_a_fault_that_is_logged_and_answered(
    messages: tuple[dict[str, Any], ...], caplog: pytest.LogCaptureFixture
) -> None:
    async with connected(sending(*messages)) as client:
        client.send(GET)
        said = await client.end()
    assert said.startswith(b"HTTP/1.1 500 Internal Server Error\r\n")
    assert said.endswith(b"\r\n\r\nInternal Server Error")
    assert b"set-cookie" not in said
    assert caplog.records[0].name == exchange.logger.name


async def test_an_application_that_fails_in_the_middle_of_a_response_has_the_connection_closed() -> None:
    async with connected(sending(START, {**BODY, "body": b"pho", "more_body": True})) as client:
        client.send(GET)
        assert await client.end() == b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\npho"


async def test_an_application_that_fails_after_its_response_keeps_nobody_from_the_next(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        await answer(send, 500, b"photo")
        raise ValueError("as Starlette does with what it has answered")

    async with connected(application) as client:
        client.send(GET + GET)
        for _ in range(2):
            assert await client.head() == b"HTTP/1.1 500 Internal Server Error"
            assert await client.body() == b"photo"
    assert [record.name for record in caplog.records] == [exchange.logger.name] * 2


async def test_who_reads_a_body_hears_that_it_is_no_http_and_answers_that() -> None:
    told: list[str] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        with pytest.raises(MalformedRequest) as refused:
            await echo(scope, receive, send)
        told.append(refused.value.detail)
        await answer(send, 400, b"wrong")

    async with connected(application) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nphoto\r\nno chunk\r\n")
        assert await client.end() == b"HTTP/1.1 400 Bad Request\r\ncontent-length: 5\r\nconnection: close\r\n\r\nwrong"
    assert told == ["this is not valid HTTP: Invalid character in chunk size"]


async def test_a_client_that_does_not_read_is_not_sent_more_and_more() -> None:
    sent = 0

    async def application(scope: Any, receive: Any, send: Any) -> None:
        nonlocal sent
        await send({"type": "http.response.start", "status": 200})
        for _ in range(1000):
            await send({"type": "http.response.body", "body": bytes(100_000), "more_body": True})
            sent += 1
            await asyncio.sleep(0)

    async with connected(application, reads=False) as client:
        client.send(GET)
        async with asyncio.timeout(10):
            while not any(connection.blocked for connection in client.served):
                await asyncio.sleep(0.001)
        before = sent
        for _ in range(100):
            await asyncio.sleep(0)
        assert sent < before + 50, "in each turn of the loop the application can send once"


async def test_what_is_whole_when_its_request_begins_says_so() -> None:
    heard = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        heard.append(scope["extensions"]["mobilenet.whole"]())
        await echo(scope, receive, send)

    async with connected(application) as client:
        for parts in ([b"photo"], [b"pho", b"to"]):
            client.send(HEAD + b"\r\n" + parts[0])
            await asyncio.sleep(0.05)
            for part in parts[1:]:
                client.send(part)
            assert (await client.head(), await client.body()) == (b"HTTP/1.1 200 OK", b"photo")
    assert heard == [True, False]


async def test_a_request_that_was_answered_leaves_no_garbage_behind() -> None:
    scopes: list[weakref.ref[Any]] = []

    class Headers(list[Any]):
        """A list that can be referred to weakly, which stands for all that a scope has."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        scope["headers"] = Headers(scope["headers"])
        scopes.append(weakref.ref(scope["headers"]))
        await (refuse if scope["path"] == "/early" else echo)(scope, receive, send)

    gc.disable()
    try:
        async with connected(application) as client:
            client.send(HEAD + b"\r\nphoto")
            assert (await client.head(), await client.body()) == (b"HTTP/1.1 200 OK", b"photo")
            client.send(HEAD.replace(b"/ ", b"/early ") + b"\r\npho")  # of which nobody reads what has come
            assert await client.head() == b"HTTP/1.1 429 Too Many Requests"
            async with asyncio.timeout(10):
                while any(scope() for scope in scopes):
                    await asyncio.sleep(0.001)
            assert len(scopes) == 2
    finally:
        gc.enable()
