"""The ways to ask one service are compared by turns, and all of them get answers."""

import itertools
import os
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest

from tests.support.fakes import colour_model
from tests.support.grpc import served
from tools.load import protocols
from tools.load.messages import make_photos
from tools.load.protocols import (
    CONNECTIONS,
    GRPC,
    HTTP,
    PREDICT,
    Asked,
    Round,
    grpc_loop,
    measure,
    post_infer,
    table,
    ways,
)
from tools.load.result import LoadResult


def test_the_table_has_medians_and_ratios_of_each_round() -> None:
    speeds = {PREDICT: (100.0, 200.0, 400.0), HTTP: (50.0, 100.0, 100.0), GRPC: (80.0, 200.0, 600.0)}
    rounds = [
        Round(way, connections, found[number], 2.0, 1000 / found[number], 0.5)
        for number in range(3)
        for connections in CONNECTIONS
        for way, found in speeds.items()
    ]
    text = table(rounds)
    assert "| /predict | 1 | 200.0 | 2.0 | 0.50 | 5.00 |" in text
    assert "| /v2 | 32 | 100.0: 0.50 × (0.38 to 0.50) | 2.0 | 0.50 | 10.00: 2.00 × (2.00 to 3.00) |" in text
    assert "| gRPC | 32 | 200.0: 1.00 × (0.90 to 1.25) | 2.0 | 0.50 |" in text


async def test_a_load_over_grpc_counts_answers() -> None:
    async with served(colour_model()) as (_, client):
        asked = await grpc_loop(client.server.port, make_photos(2), connections=2, seconds=0.5)
    assert asked.requests_per_s > 0
    assert asked.p50_ms > 0


def clock(*times_s: float) -> Any:
    """Return a module `time` whose clock shows these times, one after the other."""
    return SimpleNamespace(perf_counter=iter(times_s).__next__)


async def test_an_answer_that_comes_after_the_load_is_no_part_of_its_rate_but_of_what_the_cpu_was_spent_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with served(colour_model()) as (_, client):
        monkeypatch.setattr(protocols, "time", clock(0, 0, 1, 3, 5, 5))  # a load of 4 s, and answers after 1 s and 5 s
        over_grpc = await grpc_loop(client.server.port, make_photos(1), connections=1, seconds=4)
    due_s, latency_ms = np.array([0.0, 3]), np.array([1000.0, 2000])
    ended = LoadResult(0.0, 4, np.full(2, 200, np.int16), due_s, 0 * due_s, 0 * due_s, latency_ms)

    async def closed_loop(*_: object, **__: object) -> LoadResult:
        return ended

    monkeypatch.setattr(protocols, "closed_loop", closed_loop)
    over_http = await ways("http://service", 1, make_photos(1))[PREDICT](1, 4)
    assert over_grpc == over_http == Asked(requests_per_s=1 / 4, p50_ms=1500, ended=2)


def test_the_cpu_time_of_a_load_is_shared_by_all_that_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    def steps(width: int) -> Iterator[float]:
        return (float(number) for number in itertools.count(step=width))

    seconds, own = steps(2), steps(1)
    monkeypatch.setattr(protocols, "cpu_s", lambda _: next(seconds))
    monkeypatch.setattr(protocols, "time", SimpleNamespace(process_time=lambda: next(own)))

    async def asked(*_: object) -> Asked:
        return Asked(requests_per_s=10, p50_ms=1, ended=40)

    service: Any = SimpleNamespace(popen=SimpleNamespace(pid=os.getpid()))
    for found in measure(service, {GRPC: asked}, 1, 3, lambda: None):
        assert (found.service_ms, found.client_ms) == (2000 / 40, 1000 / 40)


async def test_the_request_of_the_protocol_is_one_that_the_service_answers() -> None:
    head, _, body = post_infer("http://127.0.0.1:1", make_photos(1)[0]).partition(b"\r\n\r\n")
    fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
    assert int(fields["Content-Length"]) == len(body)
    async with (
        served(colour_model()) as (app, _),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service") as client,
    ):
        answer = await client.post(head.decode().split()[1], content=body, headers=fields | {"Host": "service"})
    assert answer.status_code == 200
    assert len(answer.content) > int(answer.headers["Inference-Header-Content-Length"])
