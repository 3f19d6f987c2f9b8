"""Measures one service by three ways to ask it: `/predict`, the Open Inference Protocol over HTTP, and over gRPC.

The ways take turns, so that other work on the machine disturbs all of them alike. A client of gRPC in Python takes more
of the machine than one that writes bytes to a socket, and of a busy machine whoever has more threads gets more. So
beside requests per second there is the CPU time that the service took for each, which depends on neither.
"""

import asyncio
import json
import os
import socket
import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from itertools import cycle
from pathlib import Path
from statistics import median
from typing import Annotated, Any, NamedTuple
from urllib.parse import urlsplit

import grpc
import numpy as np
import typer
import uvloop
from grpc import aio
from tqdm import tqdm

from app.oip.grpc import inference_pb2 as pb
from app.oip.grpc.methods import SERVICE
from app.oip.tensors import joined
from tools.load.loops import closed_loop
from tools.load.messages import Message, make_photos, post, read_photos
from tools.load.report import format_number
from tools.load.service import RunningService, ServiceFailed, cpu_s, serving, tree

CONNECTIONS = (1, 32)
PREDICT, HTTP, GRPC = "/predict", "/v2", "gRPC"
WARM_UP_S = 1.0


class Asked(NamedTuple):
    """What a load came to.

    `requests_per_s` are the answers that came while it lasted, by its seconds. `ended` are all its requests, also those
    that were answered later, and `p50_ms` is their median latency.
    """

    requests_per_s: float
    p50_ms: float
    ended: int


class Round(NamedTuple):
    """One load by one way, over so many connections.

    `service_ms` and `client_ms` are the CPU time of the service and of this client for each request.
    """

    way: str
    connections: int
    requests_per_s: float
    p50_ms: float
    service_ms: float
    client_ms: float


Way = Callable[[int, float], Coroutine[Any, Any, Asked]]
"""Puts a load on the service over so many connections, for so many seconds."""


def ways(url: str, grpc_port: int, photos: Sequence[bytes]) -> dict[str, Way]:
    """Return the ways to ask a service, by name."""

    def over_http(write: Callable[[str, bytes], bytes]) -> Way:
        messages = [Message(write(url, photo)) for photo in photos]

        async def ask(connections: int, seconds: float) -> Asked:
            result = await closed_loop(url, messages, connections=connections, seconds=seconds)
            return Asked(result.goodput_per_s, result.percentile_ms(50), len(result.outcomes))

        return ask

    async def over_grpc(connections: int, seconds: float) -> Asked:
        return await grpc_loop(grpc_port, photos, connections, seconds)

    return {PREDICT: over_http(post), HTTP: over_http(post_infer), GRPC: over_grpc}


def post_infer(url: str, photo: bytes) -> bytes:
    """Return the bytes of a request of the Open Inference Protocol, with the photo as raw bytes behind its JSON."""
    raw = joined([photo])
    tensor = {"name": "image", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": len(raw)}}
    text = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    head = (
        f"POST /v2/models/mobilenet/infer HTTP/1.1\r\nHost: {urlsplit(url).netloc}\r\n"
        f"Inference-Header-Content-Length: {len(text)}\r\nContent-Length: {len(text) + len(raw)}\r\n\r\n"
    )
    return head.encode() + text + raw


async def grpc_loop(port: int, photos: Sequence[bytes], connections: int, seconds: float) -> Asked:
    """Ask over gRPC on so many connections, on each as soon as the last answer has come."""
    tensor = pb.ModelInferRequest.InferInputTensor(name="image", datatype="BYTES", shape=[1])
    requests = [
        pb.ModelInferRequest(model_name="mobilenet", inputs=[tensor], raw_input_contents=[joined([photo])])
        for photo in photos
    ]
    source, latencies_s = cycle(requests), []
    in_time = 0
    end = time.perf_counter() + seconds

    async def ask() -> None:
        nonlocal in_time
        async with aio.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.use_local_subchannel_pool", 1)]) as one:
            method: Any = one.unary_unary(
                f"/{SERVICE}/ModelInfer",
                request_serializer=pb.ModelInferRequest.SerializeToString,
                response_deserializer=pb.ModelInferResponse.FromString,
            )
            while (began := time.perf_counter()) < end:
                await method(next(source))
                now = time.perf_counter()
                latencies_s.append(now - began)
                in_time += now < end

    await asyncio.gather(*(ask() for _ in range(connections)))
    return Asked(in_time / seconds, 1000 * float(np.median(latencies_s)), len(latencies_s))


def measure(
    service: RunningService, ways: dict[str, Way], rounds: int, seconds: float, note: Callable[[], object]
) -> list[Round]:
    """Put loads on the service by turns; `note` follows each."""
    found = []
    for number in range(rounds):
        for connections in CONNECTIONS:
            order = list(ways) if number % 2 == 0 else list(ways)[::-1]
            for way in order:
                before = cpu_s(tree(service.popen.pid)), time.process_time()
                asked = uvloop.run(ways[way](connections, seconds))
                if not asked.requests_per_s:
                    raise ServiceFailed(f"nothing was answered over {way} in {seconds:g} s: make the loads longer")
                after = cpu_s(tree(service.popen.pid)), time.process_time()
                spent = [1000 * (end - start) / asked.ended for start, end in zip(before, after, strict=True)]
                found.append(Round(way, connections, asked.requests_per_s, asked.p50_ms, *spent))
                note()
    return found


def table(rounds: Sequence[Round]) -> str:
    """Return the medians as a table in Markdown, with the ratios to `/predict` in each round: median and quartiles."""
    lines = ["| asked by | connections | requests/s | p50 (ms) | CPU of the client (ms) | of the service (ms) |"]
    lines += ["| --- | ---: | ---: | ---: | ---: | ---: |"]
    for connections in CONNECTIONS:
        base = [one for one in rounds if (one.way, one.connections) == (PREDICT, connections)]
        for way in dict.fromkeys(one.way for one in rounds):
            mine = [one for one in rounds if (one.way, one.connections) == (way, connections)]
            speed, cpu = (
                _beside([getattr(one, name) for one in mine], [getattr(one, name) for one in base], digits)
                for name, digits in (("requests_per_s", 1), ("service_ms", 2))
            )
            p50, client = (median(getattr(one, name) for one in mine) for name in ("p50_ms", "client_ms"))
            lines.append(f"| {way} | {connections} | {speed} | {p50:.1f} | {client:.2f} | {cpu} |")
    return "\n".join(lines)


def _beside(mine: Sequence[float], base: Sequence[float], digits: int) -> str:
    low, middle, high = np.percentile([one / other for one, other in zip(mine, base, strict=True)], (25, 50, 75))
    found = format_number(median(mine), digits)
    return found if mine == base else f"{found}: {middle:.2f} × ({low:.2f} to {high:.2f})"


def main(
    photos: Annotated[Path | None, typer.Option(help="Folder of photos. Default: made ones, 224 × 224.")] = None,
    rounds: Annotated[int, typer.Option(help="How often each way has its turn.")] = 10,
    seconds: Annotated[float, typer.Option(help="Length of each load.")] = 3,
) -> None:
    """Measure with the settings of the environment, and print a table in Markdown."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    os.environ["MOBILENET_GRPC_PORT"] = str(port)
    files = read_photos(photos) if photos else make_photos()
    with serving() as service:
        found = ways(service.url, port, files)
        for way in found.values():
            uvloop.run(way(8, WARM_UP_S))
        with tqdm(total=rounds * len(CONNECTIONS) * len(found), desc="loads") as bar:
            print(table(measure(service, found, rounds, seconds, bar.update)))


if __name__ == "__main__":
    try:
        typer.run(main)
    except (ServiceFailed, grpc.RpcError) as exc:
        sys.exit(f"protocols: {exc}")
