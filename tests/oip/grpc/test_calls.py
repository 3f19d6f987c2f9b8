"""The protocol over gRPC in one process, on a model of colours; its real clients are in e2e/."""

import asyncio
import json
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import grpc
import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from google.protobuf.message import Message
from grpc import aio

from app.api.security import Guard
from app.config import Settings
from app.errors import QueueFull, StartError
from app.observability.metrics import Metrics
from app.observability.trace import Requests
from app.oip.grpc import inference_pb2 as pb
from app.oip.grpc.calls import TRAVELS_S, Call, Calls
from app.oip.grpc.methods import SERVICE
from app.oip.grpc.server import GrpcServer
from app.prediction.classifier import Classifier
from tests.support.asgi import Held
from tests.support.client import parsed
from tests.support.data import solid
from tests.support.fakes import COLOURS, colour_model
from tests.support.grpc import classification, client_of, raw_files, served, typed_files

RED, BLUE = solid(COLOURS["red"]), solid(COLOURS["blue"])
BROKEN = RED[: len(RED) // 2]
SIDE = colour_model().variant.resolution
CODE = grpc.StatusCode
ROUTE = f"/{SERVICE}/ModelInfer"


def http(app: FastAPI) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service")


async def samples(app: FastAPI) -> dict[tuple[str, ...], float]:
    async with http(app) as client:
        return parsed((await client.get("/metrics")).text)


def held(engine: Held) -> Any:
    return replace(colour_model(), engine=engine)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


async def test_the_server_and_the_model_are_described_as_over_http() -> None:
    async with served() as (app, client), http(app) as over_http:
        server = await client.call("ServerMetadata", pb.ServerMetadataRequest(), pb.ServerMetadataResponse)
        described = (await over_http.get("/v2")).json()
        assert (server.name, server.version) == (described["name"], described["version"])
        expected = (await over_http.get("/v2/models/mobilenet")).json()
        for version in ("", f"0.25@{SIDE}"):
            asked = pb.ModelMetadataRequest(name="mobilenet", version=version)
            model = await client.call("ModelMetadata", asked, pb.ModelMetadataResponse)
            assert (model.name, list(model.versions), model.platform) == ("mobilenet", [f"0.25@{SIDE}"], "colour")
            for tensors, over in ((model.inputs, expected["inputs"]), (model.outputs, expected["outputs"])):
                found = [{"name": one.name, "datatype": one.datatype, "shape": list(one.shape)} for one in tensors]
                assert found == over


async def test_the_answer_is_that_of_http_and_counts_as_one_of_grpc(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with served() as (app, client), http(app) as over_http:
        results = (await over_http.post("/predict", content=BLUE, params={"top_k": len(COLOURS)})).json()["results"]
        expected = {one["class_id"]: one["probability"] for one in results[0]["predictions"]}
        call = client.infer(raw_files(RED, BLUE, id="mine"), metadata=[("x-request-id", "7")])
        answer = await call
        assert (answer.model_version, answer.id) == (f"0.25@{SIDE}", "mine")
        assert answer.parameters["batch_size"].int64_param == 2
        rows = np.frombuffer(answer.raw_output_contents[0], "<f4").reshape(2, -1)
        np.testing.assert_allclose(rows[1], [expected[index] for index in range(len(COLOURS))], atol=1e-6)
        trailing = dict(await call.trailing_metadata())
        assert trailing["x-request-id"] == "7"
        assert "inference;dur=" in str(trailing["server-timing"])
        found = await samples(app)
        assert found["mobilenet_requests_total", ROUTE, "200"] == 1
        assert found["mobilenet_request_duration_seconds_count", ROUTE, "0.25/64"] == 1
        assert found["mobilenet_images_total", "PNG", "0.25/64"] == 3
        (line,) = [record for record in caplog.records if ROUTE in record.getMessage()]
        assert vars(line)["facts"].items() >= {"status": 200, "images": 2, "request_id": "7"}.items()


async def test_a_version_that_is_named_answers_and_the_id_is_that_of_the_request() -> None:
    async with served() as (_, client):
        call = client.infer(typed_files(RED, model_version=f"0.25@{SIDE}", outputs=classification(1)))
        (text,) = (await call).outputs[0].contents.bytes_contents
        assert text.endswith(b":red")
        assert ("x-request-id", (await call).id) in tuple(await call.trailing_metadata())


@pytest.mark.parametrize(
    ("request_", "code", "says", "name"),
    [
        (raw_files(RED, model_name="resnet"), CODE.NOT_FOUND, "mobilenet is served", "not_found"),
        (raw_files(RED, model_version="1"), CODE.NOT_FOUND, f"served: 0.25@{SIDE}", "not_found"),
        (raw_files(RED, BROKEN), CODE.INVALID_ARGUMENT, "image 1 of 2: ", "undecodable_image"),
        (raw_files(b"text"), CODE.INVALID_ARGUMENT, "JPEG", "unsupported_image"),
        (raw_files(*[RED] * 3), CODE.INVALID_ARGUMENT, "2 is the most", "too_many_images"),
        (b"\x3a\x00" * 20_000, CODE.INVALID_ARGUMENT, "bytes beside", "body_too_large"),
        (b"\x0a\x01\xff", CODE.INVALID_ARGUMENT, "ModelInferRequest", "malformed_request"),
        (b"\x0a", CODE.INVALID_ARGUMENT, "ModelInferRequest", "malformed_request"),
        (b"", CODE.NOT_FOUND, "there is no model ''", "not_found"),
    ],
)
async def test_what_cannot_be_answered_has_the_code_of_its_kind_and_the_words_of_http(
    request_: Any, code: grpc.StatusCode, says: str, name: str
) -> None:
    async with served(max_images=2) as (_, client):
        error = await client.refused(request_)
        assert (error.code(), says in str(error.details())) == (code, True), error.details()
        assert dict(error.trailing_metadata())["code"] == name


async def test_a_message_that_is_too_large_is_refused_unread_and_counted() -> None:
    async with served(max_body_bytes=100_000) as (app, client):
        error = await client.refused(raw_files(bytes(100_001)))
        assert (error.code(), "larger than max" in str(error.details())) == (CODE.RESOURCE_EXHAUSTED, True)
        assert (await samples(app))["mobilenet_requests_total", ROUTE, "413"] == 1
        await client.infer(raw_files(RED))


async def test_a_compressed_message_is_refused_before_it_grows() -> None:
    async with served() as (_, client):
        for size in (1_000, 10_000_000):
            error = await client.refused(raw_files(bytes(size)), compression=grpc.Compression.Gzip)
            assert (error.code(), "gzip" in str(error.details())) == (CODE.UNIMPLEMENTED, True)


async def test_a_call_without_a_message_and_a_method_that_there_is_not_are_refused() -> None:
    async with served() as (_, client):
        ask: Any = client.channel.stream_unary(ROUTE)
        with pytest.raises(aio.AioRpcError) as caught:
            await ask(iter([]))
        assert caught.value.code() == CODE.INVALID_ARGUMENT
        with pytest.raises(aio.AioRpcError) as caught:
            await client.call("ModelTrain", b"", pb.ModelInferResponse)
        assert caught.value.code() == CODE.UNIMPLEMENTED


async def test_where_keys_are_set_they_are_needed_but_by_probes() -> None:
    bearer = [("authorization", "Bearer secret")]
    async with served(api_keys=("secret",)) as (_, client):
        for name, answer in (
            ("ServerMetadata", pb.ServerMetadataResponse),
            ("ModelMetadata", pb.ModelMetadataResponse),
            ("ModelInfer", pb.ModelInferResponse),
        ):
            for metadata in ((), [("authorization", "Bearer wrong")]):
                with pytest.raises(aio.AioRpcError) as caught:
                    await client.call(name, b"", answer, metadata=metadata)
                assert (caught.value.code(), "key" in str(caught.value.details())) == (CODE.UNAUTHENTICATED, True)
        await client.infer(raw_files(RED), metadata=bearer)
        await client.infer(raw_files(RED), metadata=[("x-api-key", "secret")])
        assert (await client.call("ServerReady", b"", pb.ServerReadyResponse)).ready
        asked = pb.ModelReadyRequest(name="mobilenet")
        assert (await client.call("ModelReady", asked, pb.ModelReadyResponse)).ready


async def test_a_full_queue_refuses_before_the_message_is_read_and_says_when_to_come_again() -> None:
    engine = Held()
    async with served(held(engine), max_queue=1, max_images=1) as (app, client):
        engine.armed = True
        first = asyncio.ensure_future(client.infer(raw_files(RED)))
        await asyncio.to_thread(engine.running.wait, 10)
        error = await client.refused(b"\xff no message")
        assert error.code() == CODE.RESOURCE_EXHAUSTED
        assert dict(error.trailing_metadata())["grpc-retry-pushback-ms"] == "1000"
        engine.gate.set()
        assert (await first).outputs
        assert (await samples(app))["mobilenet_rejected_total", "queue_full"] == 1


async def test_a_client_that_retries_by_its_configuration_heeds_when_to_come_again() -> None:
    policy = {
        "maxAttempts": 2,
        "initialBackoff": "30s",
        "maxBackoff": "30s",
        "backoffMultiplier": 1,
        "retryableStatusCodes": ["RESOURCE_EXHAUSTED"],
    }
    config = json.dumps({"methodConfig": [{"name": [{}], "retryPolicy": policy}]})
    engine = Held()
    async with (
        served(held(engine), max_queue=1, max_images=1) as (app, client),
        client_of(client.server.port, ("grpc.service_config", config)) as patient,
    ):
        engine.armed = True
        first = asyncio.ensure_future(client.infer(raw_files(RED)))
        await asyncio.to_thread(engine.running.wait, 10)
        second = asyncio.ensure_future(patient.infer(raw_files(RED)))
        while ("mobilenet_rejected_total", "queue_full") not in await samples(app):
            await asyncio.sleep(0.01)
        engine.gate.set()
        assert (await first).outputs
        assert (await asyncio.wait_for(second, 10)).outputs


async def test_an_error_of_a_late_refusal_keeps_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(*_: object) -> None:
        raise QueueFull("no room", {"Retry-After": "3"}, {"queue_depth": 7})

    async with served() as (_, client):
        monkeypatch.setattr(Classifier, "classify", refuse)
        error = await client.refused(raw_files(RED))
        assert (error.details(), dict(error.trailing_metadata())["retry-after"]) == ("no room", "3")


async def test_a_bug_is_an_internal_error_that_says_nothing_but_in_the_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("secret")

    async with served() as (_, client):
        monkeypatch.setattr(Classifier, "check_room", fail)
        error = await client.refused(raw_files(RED))
        assert (error.code(), error.details()) == (CODE.INTERNAL, "the request failed for a reason that is ours")
    assert "ZeroDivisionError: secret" in caplog.text


async def test_the_deadline_of_a_call_is_that_of_its_request() -> None:
    engine = Held()
    async with served(held(engine), max_batch_size=1) as (app, client):
        engine.armed = True
        first = asyncio.ensure_future(client.infer(raw_files(RED)))
        await asyncio.to_thread(engine.running.wait, 10)
        error = await client.refused(raw_files(RED), timeout=0.2)
        assert error.code() == CODE.DEADLINE_EXCEEDED
        while (await samples(app))["mobilenet_queue_images",] > 1:  # the service hears of it a little later
            await asyncio.sleep(0.01)
        engine.gate.set()
        await first
        assert engine.ran == 1


class Leaver:
    """The context of a call whose client leaves when it still has some of its time."""

    def __init__(self, left_s: float) -> None:
        self._left_s = left_s

    def time_remaining(self) -> float:
        return self._left_s

    def invocation_metadata(self) -> None: ...


@pytest.mark.parametrize(("left_s", "status"), [(0, "504"), (TRAVELS_S / 2, "504"), (60, "499")])
async def test_a_client_that_cancels_as_its_deadline_passes_has_waited_long_enough(left_s: float, status: str) -> None:
    async def leave(_: Call) -> Message:
        raise asyncio.CancelledError

    metrics = Metrics()
    calls = Calls(SERVICE, Settings(), Requests(metrics), None)
    with pytest.raises(asyncio.CancelledError):
        await calls._answer(ROUTE, leave, cast("Any", Leaver(left_s)))
    assert parsed(metrics.render().decode())["mobilenet_requests_total", ROUTE, status] == 1


async def test_the_services_own_deadline_holds_for_calls_that_have_a_longer_one_or_none() -> None:
    engine = Held()
    async with served(held(engine), max_batch_size=1, request_timeout_ms=2_000) as (_, client):
        engine.armed = True
        for options in ({}, {"timeout": 30}):
            error = await client.refused(raw_files(RED), **options)
            assert (error.code(), "deadline passed" in str(error.details())) == (CODE.DEADLINE_EXCEEDED, True), (
                error.details()
            )
        engine.gate.set()


async def test_a_message_that_does_not_come_is_waited_for_until_the_deadline() -> None:
    async with served(request_timeout_ms=200) as (_, client):
        ask: Any = client.channel.stream_unary(ROUTE)
        call = ask()  # and nothing is written
        with pytest.raises(aio.AioRpcError) as caught:
            await call
        assert caught.value.code() == CODE.DEADLINE_EXCEEDED
        assert "did not arrive" in str(caught.value.details())


async def test_images_of_a_cancelled_call_are_not_run(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    engine = Held()
    async with served(held(engine), max_batch_size=1) as (app, client):
        engine.armed = True
        first = asyncio.ensure_future(client.infer(raw_files(RED)))
        await asyncio.to_thread(engine.running.wait, 10)
        leaver = client.infer(raw_files(RED))
        while (await samples(app))["mobilenet_queue_images",] < 2:
            await asyncio.sleep(0.01)
        leaver.cancel()
        await until(lambda: any(vars(one).get("facts", {}).get("status") == 499 for one in caplog.records))
        engine.gate.set()
        await first
        assert engine.ran == 1
        assert (await samples(app))["mobilenet_dropped_total", "departed"] == 1


async def test_another_model_is_not_found() -> None:
    async with served() as (_, client):
        with pytest.raises(aio.AioRpcError) as caught:
            await client.call("ModelReady", pb.ModelReadyRequest(name="resnet"), pb.ModelReadyResponse)
        assert caught.value.code() == CODE.NOT_FOUND


async def test_a_port_that_is_taken_is_one_line() -> None:
    async with served() as (_, client):
        taken = client.server.port
        other = GrpcServer(
            Settings(grpc_port=taken), Guard(()), Requests(Metrics()), classifier=never, alive=lambda: None
        )
        with pytest.raises(StartError, match=f"MOBILENET_HOST=127.0.0.1 MOBILENET_GRPC_PORT={taken}: cannot listen"):
            await other.start()


def never() -> Classifier:
    raise AssertionError
