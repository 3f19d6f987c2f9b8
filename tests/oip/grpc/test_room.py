"""Messages of calls at once: bounded together, in their order, and nobody waits long for one that does not come."""

import asyncio
import gc
import time
import weakref
from collections import deque
from dataclasses import replace
from typing import Any, cast

import grpc
import pytest
from grpc import aio

from app.api.middleware.bodies import LARGEST_AT_ONCE
from app.config import Settings
from app.errors import DeadlineExceeded, QueueFull
from app.oip.grpc import inference_pb2 as pb
from app.oip.grpc.methods import SERVICE
from app.oip.grpc.room import SHORT_AT_ONCE, Context, Room
from app.prediction.classifier import Classifier
from tests.support.asgi import Held, get
from tests.support.data import solid
from tests.support.fakes import COLOURS, colour_model
from tests.support.grpc import raw_files, served

RED = solid(COLOURS["red"])
CODE = grpc.StatusCode
MESSAGES, KEPT, LARGEST = 4, 2, 1000
IMAGES = LARGEST_AT_ONCE - SHORT_AT_ONCE
LONG_S, SHORT_S = 60.0, 0.05
CHECK, WATCH, INFER = "/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch", f"/{SERVICE}/ModelInfer"


class Sender:
    """A call whose message comes when a test wants, and which knows whether it is waited for."""

    def __init__(self, room: Room, within_s: float = LONG_S) -> None:
        self.message: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        self.asked = False
        context = cast("Context", self)
        self.received = asyncio.ensure_future(room.receive(context, time.monotonic() + within_s))

    async def read(self) -> object:
        """Return the message, as a context of gRPC does."""
        self.asked = True
        return await self.message

    async def send(self, size: int) -> None:
        """Send a message of so many bytes, and wait until it is received."""
        self.message.set_result(bytes(size))
        assert await self.received == bytes(size)


def room(patience_s: float = LONG_S, least_s: float | None = None) -> Room:
    return Room(Settings(max_body_bytes=LARGEST), MESSAGES, patience_s, least_s)


async def senders(room: Room, count: int) -> list[Sender]:
    """Begin calls, and return them once as many are waited for as there are."""
    found = [Sender(room) for _ in range(count)]
    await asked(*found)
    return found


async def asked(*calls: Sender) -> None:
    async with asyncio.timeout(10):
        while not all(call.asked for call in calls):
            await asyncio.sleep(0)


async def settled() -> None:
    """Let everything happen that waits for nothing."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_message_that_is_coming_counts_as_the_largest_and_the_others_come_in_turn() -> None:
    among = room()
    first, *others = await senders(among, MESSAGES)
    second, third = Sender(among), Sender(among)
    await settled()
    assert not second.asked
    await first.send(1)
    await asked(second)
    assert not third.asked
    await others[0].send(LARGEST)
    await asked(third)


async def test_any_number_of_messages_come_where_none_keeps_the_others_waiting() -> None:
    among = room(patience_s=LONG_S)
    waiting = deque(Sender(among) for _ in range(500))
    while waiting:
        await asked(waiting[0])
        assert sum(call.asked for call in waiting) <= MESSAGES
        await waiting.popleft().send(10)


async def test_who_sends_nothing_makes_room_for_who_waits_but_the_longest_and_who_hurries_is_received() -> None:
    among = room(patience_s=SHORT_S)
    silent = await senders(among, MESSAGES)
    late = Sender(among)
    await asked(late)
    await late.send(10)
    with pytest.raises(QueueFull, match=r"had not come after 0\.05 s") as caught:
        await silent[KEPT].received
    assert caught.value.headers["Retry-After"] == "1"
    assert [call.received.done() for call in silent] == [False, False, True, False]
    await silent[0].send(LARGEST)


async def test_calls_that_send_nothing_use_their_patience_up_while_they_wait_for_their_turn() -> None:
    among = room(patience_s=SHORT_S, least_s=0)
    silent = [Sender(among) for _ in range(1000)]
    late = Sender(among)
    await asked(late)
    await late.send(10)
    for call in silent:
        call.received.cancel()
    await asyncio.gather(*(call.received for call in silent), return_exceptions=True)


async def test_a_message_is_received_for_a_while_however_long_its_call_has_waited() -> None:
    among = room(patience_s=0, least_s=LONG_S)
    calls = await senders(among, MESSAGES)
    waiting = Sender(among)
    await settled()
    for call in calls:
        await call.send(10)
    await asked(waiting)
    await waiting.send(10)


async def test_a_message_that_came_while_the_loop_was_kept_is_not_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    among = room(patience_s=LONG_S / 3)
    calls = await senders(among, MESSAGES)
    waiting = Sender(among)
    await settled()
    loop = asyncio.get_running_loop()
    clock = loop.time
    monkeypatch.setattr(loop, "time", lambda: clock() + LONG_S / 2)
    loop.call_soon(calls[KEPT].message.set_result, b"late")
    assert await calls[KEPT].received == b"late"
    await asked(waiting)


async def test_where_nobody_waits_a_message_has_until_its_deadline() -> None:
    among = room(patience_s=0)
    calls = [Sender(among, within_s=SHORT_S) for _ in range(MESSAGES)]
    for call in calls:
        with pytest.raises(DeadlineExceeded, match="did not arrive"):
            await call.received
    await (await senders(among, 1))[0].send(1)


async def test_messages_that_are_used_take_the_room_and_who_finds_none_is_refused_in_the_words_of_http() -> None:
    among = room()
    with among.holding(3 * LARGEST), among.holding(1):
        refused = Sender(among)
        with pytest.raises(QueueFull, match="the bodies of requests under way have more than 4,000 bytes") as caught:
            await refused.received
        assert (refused.asked, caught.value.headers["Retry-After"]) == (False, "1")
    await (await senders(among, 1))[0].send(1)


async def test_where_as_many_calls_wait_as_may_the_next_is_refused_until_one_has_its_turn_or_leaves() -> None:
    among = Room(Settings(max_body_bytes=LARGEST), MESSAGES, LONG_S, longest_line=2)
    calls = await senders(among, MESSAGES)
    first, second = Sender(among), Sender(among)
    await settled()
    with pytest.raises(QueueFull, match="2 calls wait for room for their messages") as caught:
        await Sender(among).received
    assert caught.value.headers["Retry-After"] == "1"
    await calls[0].send(1)
    await asked(first)
    second.received.cancel()
    later = [Sender(among), Sender(among)]
    await settled()
    await calls[1].send(1)
    await asked(later[0])
    await first.send(1)
    await asked(later[1])


async def test_who_waits_in_turn_and_leaves_is_passed_over() -> None:
    among = room()
    first, *_ = await senders(among, MESSAGES)
    leaver, stayer = Sender(among), Sender(among)
    hasty = Sender(among, within_s=SHORT_S)
    await settled()
    leaver.received.cancel()
    with pytest.raises(DeadlineExceeded):
        await hasty.received
    await first.send(1)
    await asked(stayer)
    assert not leaver.asked
    assert not hasty.asked


@pytest.mark.parametrize("method", [CHECK, INFER])
async def test_clients_that_call_and_send_nothing_do_not_keep_others_from_being_answered(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.oip.grpc.room.PATIENCE_S", SHORT_S)
    async with served(request_timeout_ms=60_000) as (_, client):
        silent: list[Any] = [client.channel.stream_unary(method)() for _ in range(12)]
        ask: Any = client.channel.unary_unary(CHECK)
        for answer in (ask(b""), client.infer(raw_files(RED))):
            assert await asyncio.wait_for(answer, 10)
        for call in silent:
            call.cancel()


async def test_the_images_of_calls_under_way_are_bounded_together_until_these_are_answered() -> None:
    engine = Held()
    largest = len(RED) + 1000
    async with served(replace(colour_model(), engine=engine), max_batch_size=1, max_body_bytes=largest) as (
        app,
        client,
    ):
        engine.armed = True
        message = raw_files(RED, id="x" * 900)
        calls = [client.infer(message) for _ in range(IMAGES)]
        async with asyncio.timeout(10):
            while b"mobilenet_queue_images %d.0" % len(calls) not in await get(app, "/metrics"):
                await asyncio.sleep(0.01)
        error = await client.refused(message)
        assert (error.code(), "bodies of requests under way" in str(error.details())) == (CODE.RESOURCE_EXHAUSTED, True)
        engine.gate.set()
        for call in calls:
            assert (await call).outputs
        assert (await client.infer(message)).outputs


async def test_of_a_message_that_is_not_read_yet_only_the_beginning_is_received(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("app.oip.grpc.room.PATIENCE_S", LONG_S)
    large = raw_files(bytes(8_000_000))
    async with served(request_timeout_ms=60_000) as (_, client):
        for _ in range(8):  # by which gRPC's core would learn how quick the connection is
            assert (await client.refused(large)).code() == CODE.INVALID_ARGUMENT
        silent: list[Any] = [client.channel.stream_unary(INFER)() for _ in range(IMAGES)]
        for _ in range(20):
            await client.call("ServerLive", b"", pb.ServerLiveResponse)
        waiting: Any = client.channel.stream_unary(INFER)()
        writing = asyncio.ensure_future(waiting.write(bytes(1_000_000)))
        for _ in range(200):
            await client.call("ServerLive", b"", pb.ServerLiveResponse)
        assert not writing.done()
        for call in (*silent, waiting):
            call.cancel()
        await asyncio.wait([writing])


async def test_a_message_of_a_standard_service_may_be_short_alone() -> None:
    async with served() as (_, client):
        ask: Any = client.channel.unary_unary(CHECK)
        for message, code, says in (
            (b"\x0a\x84\x80\x08" + bytes(131_076), CODE.INVALID_ARGUMENT, "more than 65,536 bytes"),
            (b"\x0a\x01\xff", CODE.INVALID_ARGUMENT, "encoding of protocol buffers"),
        ):
            with pytest.raises(aio.AioRpcError) as caught:
                await ask(message)
            assert (caught.value.code(), says in str(caught.value.details())) == (code, True), caught.value.details()


async def test_a_call_of_a_standard_service_without_a_message_is_refused() -> None:
    async with served() as (_, client):
        for method in (CHECK, WATCH):
            ask: Any = client.channel.stream_unary(method)
            with pytest.raises(aio.AioRpcError) as caught:
                await ask(iter([]))
            assert (caught.value.code(), caught.value.details()) == (CODE.INVALID_ARGUMENT, "the call has no message")


async def test_the_message_of_a_call_that_failed_is_not_kept_until_garbage_is_collected(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    raised: list[weakref.ref[QueueFull]] = []

    async def refuse(*_: object) -> None:
        error = QueueFull("no room")
        raised.append(weakref.ref(error))
        try:
            raise error
        finally:
            del error  # or it would be in a circle by this frame

    async with served() as (_, client):
        monkeypatch.setattr(Classifier, "classify", refuse)
        gc.disable()
        try:
            assert (await client.refused(raw_files(RED))).code() == CODE.RESOURCE_EXHAUSTED
            async with asyncio.timeout(5):
                while raised[0]():  # its traceback has the frames that have the message
                    await asyncio.sleep(0.01)
        finally:
            gc.enable()
