"""A client of the Open Inference Protocol over gRPC, and the application in this process that it asks."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from fastapi import FastAPI
from google.protobuf.message import Message
from grpc import aio

from app.config import Settings
from app.main import create_app
from app.model.model import Model
from app.oip.grpc import GRPC
from app.oip.grpc import inference_pb2 as pb
from app.oip.grpc.methods import SERVICE
from app.oip.grpc.server import GrpcServer
from app.oip.tensors import joined
from app.runtime.pipeline import Pipeline
from tests.support.asgi import ready
from tests.support.fakes import colour_model, serving

M = TypeVar("M", bound=Message)
Tensor = pb.ModelInferRequest.InferInputTensor


def serialized(message: Message | bytes) -> bytes:
    return message if isinstance(message, bytes) else message.SerializeToString()


class Client:
    """Calls the methods of the service at one port; a request may be bytes that are no message."""

    server: GrpcServer
    """What it asks, if that is in this process."""

    def __init__(self, channel: aio.Channel) -> None:
        self.channel = channel

    def call(
        self, name: str, request: Message | bytes, answer: type[M], **options: Any
    ) -> "aio.UnaryUnaryCall[Any, M]":
        """Begin a call, which is awaited for its answer."""
        method: Any = self.channel.unary_unary(
            f"/{SERVICE}/{name}", request_serializer=serialized, response_deserializer=answer.FromString
        )
        found: aio.UnaryUnaryCall[Any, M] = method(request, **options)
        return found

    def infer(self, request: Message | bytes, **options: Any) -> "aio.UnaryUnaryCall[Any, pb.ModelInferResponse]":
        return self.call("ModelInfer", request, pb.ModelInferResponse, **options)

    async def refused(self, request: Message | bytes, **options: Any) -> aio.AioRpcError:
        """Return the error that a request to classify is answered with."""
        try:
            answer = await self.infer(request, **options)
        except aio.AioRpcError as exc:
            return exc
        raise AssertionError(f"it was answered: {answer}")


@asynccontextmanager
async def client_of(port: int, *options: tuple[str, Any]) -> AsyncIterator[Client]:
    # Not shared with other channels to the port, which an earlier server may have had.
    alone = [("grpc.use_local_subchannel_pool", 1), *options]
    async with aio.insecure_channel(f"127.0.0.1:{port}", options=alone) as channel:
        yield Client(channel)


@asynccontextmanager
async def served(
    model: Model | None = None,
    open_: Callable[[Settings], Pipeline] | None = None,
    until_ready: bool = True,
    **settings: Any,
) -> AsyncIterator[tuple[FastAPI, Client]]:
    """Start an application that serves gRPC, and give it and a client."""
    app = create_app(Settings(grpc_port=0, **settings), open_ or serving(model or colour_model()))
    async with app.router.lifespan_context(app) as state:
        if until_ready:
            await ready(app)
        assert state is not None
        async with client_of(state[GRPC].port) as client:
            client.server = state[GRPC]
            yield app, client


def raw_files(*files: bytes, **rest: Any) -> pb.ModelInferRequest:
    """Return a request whose image files are raw bytes, as Triton's client sends them."""
    tensor = Tensor(name="image", datatype="BYTES", shape=[len(files)])
    given = {"model_name": "mobilenet", "inputs": [tensor], "raw_input_contents": [joined(files)]}
    return pb.ModelInferRequest(**given | rest)


def typed_files(*files: bytes, **rest: Any) -> pb.ModelInferRequest:
    """Return a request whose image files are elements of a list."""
    tensor = Tensor(name="image", datatype="BYTES", shape=[len(files)])
    tensor.contents.bytes_contents.extend(files)
    return pb.ModelInferRequest(**{"model_name": "mobilenet", "inputs": [tensor]} | rest)


def classification(k: int) -> list[pb.ModelInferRequest.InferRequestedOutputTensor]:
    """Return the outputs of a request for so many of the most probable classes."""
    wanted = pb.ModelInferRequest.InferRequestedOutputTensor(name="probabilities")
    wanted.parameters["classification"].int64_param = k
    return [wanted]
