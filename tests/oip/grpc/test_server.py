"""Connections of clients that ask for nothing, or are not there any more: they are not kept for ever."""

import asyncio
import struct
from dataclasses import replace

import pytest
from grpc import ChannelConnectivity as State
from grpc import StatusCode, aio

from app.oip.grpc import inference_pb2 as pb
from tests.support.asgi import Held, admitted
from tests.support.data import RED
from tests.support.fakes import colour_model
from tests.support.grpc import Client, client_of, raw_files, served

HEADERS, SETTINGS, PING = 1, 4, 6
END_HEADERS, ACK = 4, 1
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEAD = {
    b":method": b"POST",
    b":scheme": b"http",
    b":path": b"/grpc.health.v1.Health/Watch",
    b":authority": b"service",
    b"te": b"trailers",
    b"content-type": b"application/grpc",
}


def frame(kind: int, flags: int, stream: int, content: bytes = b"") -> bytes:
    """Return a frame of HTTP/2."""
    return struct.pack(">I", len(content))[1:] + struct.pack(">BBI", kind, flags, stream) + content


def text(content: bytes) -> bytes:
    return bytes([len(content)]) + content


async def until_asked(reader: asyncio.StreamReader) -> None:
    """Read frames until one asks whether this client is there."""
    while True:
        length, kind, flags, _ = struct.unpack(">IBBI", b"\0" + await reader.readexactly(9))
        await reader.readexactly(length)
        if (kind, flags & ACK) == (PING, 0):
            return


async def live(client: Client) -> bool:
    return (await client.call("ServerLive", b"", pb.ServerLiveResponse)).live


async def test_a_connection_without_calls_is_closed_and_its_client_does_not_notice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("app.oip.grpc.server.IDLE_S", 0.1)
    async with served() as (_, client):
        for _ in range(2):
            assert await live(client)
            async with asyncio.timeout(30):
                while (state := client.channel.get_state()) is State.READY:
                    await client.channel.wait_for_state_change(state)
        assert await live(client)


async def test_a_client_whose_call_is_under_way_is_asked_whether_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.oip.grpc.server.KEEPALIVE_S", 0.1)
    head = b"".join(b"\0" + text(name) + text(value) for name, value in HEAD.items())
    async with served() as (_, client):
        reader, writer = await asyncio.open_connection("127.0.0.1", client.server.port)
        writer.write(PREFACE + frame(SETTINGS, 0, 0) + frame(HEADERS, END_HEADERS, 1, head))
        async with asyncio.timeout(30):
            await until_asked(reader)
        writer.close()


async def test_more_calls_at_the_same_time_than_there_may_be_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.oip.grpc.server.most_connections", lambda _: 2)
    engine = Held()
    async with served(replace(colour_model(), engine=engine)) as (app, client):
        engine.armed = True
        under_way = []
        for count in (1, 2):
            under_way.append(asyncio.ensure_future(client.infer(raw_files(RED))))
            await admitted(app, count)
        with pytest.raises(aio.AioRpcError) as caught:
            await live(client)
        assert caught.value.code() is StatusCode.RESOURCE_EXHAUSTED
        engine.gate.set()
        await asyncio.gather(*under_way)
        assert await live(client)


async def test_more_connections_than_there_may_be_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.oip.grpc.server.most_connections", lambda _: 2)
    async with served() as (_, client), client_of(client.server.port) as other:
        assert await live(client)
        assert await live(other)
        async with client_of(client.server.port) as third:
            with pytest.raises(aio.AioRpcError) as caught:
                await live(third)
        assert caught.value.code() is StatusCode.UNAVAILABLE
        assert await live(client)
