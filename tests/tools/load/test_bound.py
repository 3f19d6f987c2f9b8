"""The bound of goodput under overload: a bare server refuses the excess while the service answers what it can."""

import socket
from dataclasses import replace
from math import isnan
from urllib.parse import urlsplit

import pytest

from tests.tools.load.test_load import BODY, server
from tools.load import bound
from tools.load.bound import BoundReport, Flood, Loads, Turn
from tools.load.loops import open_loop
from tools.load.messages import Message, post
from tools.load.refuser import REFUSAL, refusing

REQUEST = post("http://127.0.0.1:1", BODY)
TURN = Turn(
    overload_per_s=250.0,
    capacity_per_s=500.0,
    bound_per_s=400.0,
    excess_per_s=2000.0,
    refused_per_s=1990.0,
    client_lag_p99_ms=1.2,
    client_cpus=0.75,
)
FLOODS = [Flood("service", 4000.0, 40.0, 240.0, 0.5), Flood("bare server", 9000.0, 0.0, 40.0, 1.0)]


async def test_the_bare_server_refuses_every_request_of_a_load() -> None:
    with refusing() as bare:
        result = await open_loop(bare.url, [Message(post(bare.url, BODY))], rate_per_s=200, seconds=0.5)
    assert result.counts == {"429": 100}


@pytest.mark.parametrize("size", [1, 7, len(REQUEST) - 1, len(REQUEST) + 30, 3 * len(REQUEST)])
def test_the_bare_server_refuses_each_request_once_however_its_bytes_arrive(size: int) -> None:
    data = 3 * REQUEST
    with refusing() as bare, socket.create_connection(_address(bare.url), timeout=10) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for start in range(0, len(data), size):
            client.sendall(data[start : start + size])
        client.shutdown(socket.SHUT_WR)
        with client.makefile("rb") as answers:
            assert answers.read() == 3 * REFUSAL


def test_the_bare_server_refuses_before_the_body_has_come() -> None:
    with refusing() as bare, socket.create_connection(_address(bare.url), timeout=10) as client:
        client.sendall(REQUEST.partition(b"\r\n\r\n")[0] + b"\r\n\r\n")
        assert client.recv(1000) == REFUSAL


def _address(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    return parts.hostname, parts.port


async def test_a_turn_has_the_answers_of_the_service_under_each_load_and_the_refusals_of_the_bare_server() -> None:
    async with server(lambda _: (200, 0.05)) as url:
        with refusing() as bare:
            found = await bound.turn(url, bare.url, [BODY], Loads(2, 40.0, 200.0, 0.5))
    assert 0 < found.overload_per_s <= 40
    assert 0 < found.capacity_per_s <= 2 / 0.05
    assert 0 < found.bound_per_s <= 2 / 0.05
    assert found.excess_per_s == pytest.approx(200)
    assert 0 < found.refused_per_s <= 200


def test_a_service_without_answers_has_no_bound() -> None:
    with refusing() as service:
        found = bound.measure(service.url, [BODY], (), Loads(2, 50.0, 40.0, 0.1))
    assert [(one.capacity_per_s, one.bound_per_s) for one in found] == [(0.0, 0.0)] * bound.TURNS
    assert isnan(BoundReport.of(found, []).bound)


def test_a_flood_counts_refusals_and_the_cpu_time_of_whoever_refused() -> None:
    with refusing() as bare:
        found = bound.flood("bare server", bare.url, bare.pid, [BODY], 0.5)
    assert found.refused_per_s > 0
    assert found.answered_per_s == 0
    assert 0 < found.refusal_us < 1e6 / found.refused_per_s


def test_the_lines_have_medians_and_say_when_the_bound_is_too_high() -> None:
    turns = [replace(TURN, bound_per_s=bound_per_s) for bound_per_s in (400.0, 450.0, 300.0)]
    report = BoundReport.of(turns, FLOODS)
    assert (report.goodput, report.bound) == (0.5, 0.8)
    text = "\n".join(bound.lines(report))
    assert "goodput at overload / capacity: 0.50 (0.50 to 0.50)" in text
    assert "refuses the excess: 0.80 (0.60 to 0.90)" in text
    assert "refused 1,990 of 2,000 requests/s; the client took 0.75 CPUs, its own lag p99 1.2 ms" in text
    assert "flood of the service: 4,000 refused/s, 40 answered/s, 240 µs of CPU for a refusal" in text
    assert "too high" not in text
    missed = BoundReport.of([*turns, replace(TURN, refused_per_s=1900.0)], FLOODS)
    assert "too high: in 1 of 4 turns" in "\n".join(bound.lines(missed))
