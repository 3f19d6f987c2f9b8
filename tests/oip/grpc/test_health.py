"""What the service says of itself over gRPC: to those who ask whether it is well, while it starts and stops, and what
it has.
"""

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import grpc
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from grpc import aio
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from app.oip.grpc import inference_pb2 as pb
from app.oip.grpc.health import Health
from app.oip.grpc.methods import SERVICE
from app.oip.grpc.room import Context
from app.prediction.classifier import Classifier
from tests.support.asgi import Held
from tests.support.data import solid
from tests.support.fakes import COLOURS, colour_model, serving
from tests.support.grpc import Client, raw_files, served

RED = solid(COLOURS["red"])
CODE = grpc.StatusCode
SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


async def checked(client: Client, service: str = "") -> health_pb2.HealthCheckResponse:
    ask: Any = client.channel.unary_unary(
        "/grpc.health.v1.Health/Check",
        request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
        response_deserializer=health_pb2.HealthCheckResponse.FromString,
    )
    found: health_pb2.HealthCheckResponse = await ask(health_pb2.HealthCheckRequest(service=service))
    return found


def watched(client: Client, service: str) -> Any:
    ask: Any = client.channel.unary_stream(
        "/grpc.health.v1.Health/Watch",
        request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
        response_deserializer=health_pb2.HealthCheckResponse.FromString,
    )
    return ask(health_pb2.HealthCheckRequest(service=service))


async def test_a_model_that_hangs_is_neither_live_nor_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    async with served() as (_, client):
        monkeypatch.setattr(Classifier, "fault", "the model hangs")
        assert not (await client.call("ServerLive", b"", pb.ServerLiveResponse)).live
        assert not (await client.call("ServerReady", b"", pb.ServerReadyResponse)).ready
        asked = pb.ModelReadyRequest(name="mobilenet")
        assert not (await client.call("ModelReady", asked, pb.ModelReadyResponse)).ready
        assert (await checked(client)).status == NOT_SERVING


async def test_before_the_model_is_loaded_the_process_is_live_and_nothing_is_ready() -> None:
    loading = threading.Event()

    def opening(settings: Any) -> Any:
        loading.wait(10)
        return serving(colour_model())(settings)

    async with served(open_=opening, until_ready=False) as (_, client):
        assert (await client.call("ServerLive", b"", pb.ServerLiveResponse)).live
        assert not (await client.call("ServerReady", b"", pb.ServerReadyResponse)).ready
        assert (await checked(client, SERVICE)).status == NOT_SERVING
        error = await client.refused(raw_files(RED))
        assert (error.code(), error.details()) == (CODE.UNAVAILABLE, "the model is loading")
        watching = watched(client, SERVICE)
        assert (await watching.read()).status == NOT_SERVING
        loading.set()
        assert (await watching.read()).status == SERVING
        watching.cancel()


async def test_health_knows_the_services_that_there_are() -> None:
    async with served() as (_, client):
        assert (await checked(client)).status == SERVING
        with pytest.raises(aio.AioRpcError) as caught:
            await checked(client, "other")
        assert (caught.value.code(), SERVICE in str(caught.value.details())) == (CODE.NOT_FOUND, True)
        watching = watched(client, "other")
        assert (await watching.read()).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
        watching.cancel()


async def test_no_more_than_a_quarter_of_all_calls_may_watch_the_state(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.oip.grpc.server.most_connections", lambda _: 8)
    async with served() as (_, client):
        watching = [watched(client, SERVICE) for _ in range(2)]
        for call in watching:
            assert await call.read()
        with pytest.raises(aio.AioRpcError) as caught:
            await watched(client, SERVICE).read()
        assert (caught.value.code(), "2 calls watch" in str(caught.value.details())) == (CODE.UNIMPLEMENTED, True)
        watching[0].cancel()
        async with asyncio.timeout(10):
            while client.server._health._watchers == 2:
                await asyncio.sleep(0.01)
        watching[0] = watched(client, SERVICE)
        assert await watching[0].read()
        for call in watching:
            call.cancel()


class State:
    """Whether a service is ready, and how often somebody looked."""

    def __init__(self) -> None:
        self.ready, self.looks = False, 0

    def look(self) -> bool:
        """Return whether it is ready."""
        self.looks += 1
        return self.ready


class Listener:
    """A call that watches, and what it is told."""

    def __init__(self, health: Health) -> None:
        self.told: list[int] = []
        self.task = asyncio.ensure_future(health.Watch(health_pb2.HealthCheckRequest(), cast("Context", self)))

    async def write(self, answer: health_pb2.HealthCheckResponse) -> None:
        """Hear of the state."""
        self.told.append(answer.status)


async def test_all_who_watch_hear_what_is_found_out_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.oip.grpc.health.LOOK_S", 0.05)
    state = State()
    health = Health(state.look, 100)
    listeners = [Listener(health) for _ in range(100)]
    await until_told(listeners, NOT_SERVING)
    state.ready, state.looks = True, 0
    await until_told(listeners, NOT_SERVING, SERVING)
    assert state.looks < len(listeners)
    health.stop()
    await until_told(listeners, NOT_SERVING, SERVING, NOT_SERVING)
    await asyncio.gather(*(one.task for one in listeners))


async def until_told(listeners: Sequence[Listener], *states: int) -> None:
    async with asyncio.timeout(10):
        while any(one.told != [*states] for one in listeners):
            await asyncio.sleep(0)


async def test_what_somebody_is_told_who_asks_is_told_to_who_watches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.oip.grpc.health.LOOK_S", 60)
    state = State()
    health = Health(state.look, 1)
    listener = Listener(health)
    await until_told([listener], NOT_SERVING)
    state.ready = True
    await health.Check(health_pb2.HealthCheckRequest(), cast("Context", listener))
    await until_told([listener], NOT_SERVING, SERVING)
    listener.task.cancel()


async def test_reflection_tells_clients_the_services_and_the_messages() -> None:
    def look(port: int) -> tuple[list[str], list[str]]:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            database = ProtoReflectionDescriptorDatabase(channel)
            service = DescriptorPool(database).FindServiceByName(SERVICE)
            return list(database.get_services()), [method.name for method in service.methods]

    async with served() as (_, client):
        services, methods = await asyncio.to_thread(look, client.server.port)
    assert {SERVICE, "grpc.health.v1.Health"} <= set(services)
    assert methods == ["ServerLive", "ServerReady", "ModelReady", "ServerMetadata", "ModelMetadata", "ModelInfer"]


async def test_a_server_that_stops_answers_what_it_has_and_refuses_the_rest() -> None:
    engine = Held()
    async with served(replace(colour_model(), engine=engine), max_batch_size=1) as (_, client):
        engine.armed = True
        watching = watched(client, "")
        assert (await watching.read()).status == SERVING
        first = asyncio.ensure_future(client.infer(raw_files(RED)))
        await asyncio.to_thread(engine.running.wait, 10)
        client.server.drain()
        error = await client.refused(raw_files(RED))
        assert (error.code(), error.details()) == (CODE.UNAVAILABLE, "the service is stopping")
        assert (await watching.read()).status == NOT_SERVING
        assert await watching.read() is aio.EOF
        engine.gate.set()
        assert (await first).outputs
        await asyncio.wait_for(client.server.stop(), 5)
