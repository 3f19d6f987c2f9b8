"""The bound of goodput under overload: a bare server refuses the excess while the service answers what it can."""

import socket
from dataclasses import replace
from urllib.parse import urlsplit

import pytest

from tests.tools.load.test_load import BODY, server
from tools.load import bound
from tools.load.bound import Bound, BoundReport, Flood, Loads
from tools.load.loops import open_loop
from tools.load.messages import Message, post
from tools.load.refuser import REFUSAL, refusing

REQUEST = post("http://127.0.0.1:1", BODY)
FOUND = Bound(250.0, 0.5, 2000.0, 1990.0, 1.25, 0.75)
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
    assert parts.hostname is not None and parts.port is not None
    return parts.hostname, parts.port


def test_the_bound_is_what_the_service_answers_beside_the_bare_server() -> None:
    with refusing() as service:  # it need not be the service, and then answers nothing with 200
        found = bound.measure(service.url, [BODY], (), Loads(2, 100.0, 200.0, 0.5))
    assert (found.goodput_per_s, found.goodput_ratio) == (0.0, 0.0)
    assert found.offered_per_s == pytest.approx(200)
    assert 0 < found.refused_per_s <= 200


async def test_the_service_and_the_bare_server_get_the_same_requests_each_in_its_way() -> None:
    async with server(lambda _: (200, 0.05)) as url:
        with refusing() as bare:
            answered, refused = await bound.offer_both(url, bare.url, [BODY], Loads(2, 100.0, 200.0, 0.5))
    assert set(answered.counts) == {"200"}
    assert 0 < answered.counts["200"] <= 2 * 10
    assert refused.counts == {"429": 100}


def test_a_flood_counts_refusals_and_the_cpu_time_of_whoever_refused() -> None:
    with refusing() as bare:
        found = bound.flood("bare server", bare.url, bare.pid, [BODY], 0.5)
    assert found.refused_per_s > 0
    assert found.answered_per_s == 0
    assert 0 < found.refusal_us < 1e6 / found.refused_per_s


def test_a_bound_is_said_to_be_too_high_if_not_all_was_refused_that_was_offered() -> None:
    first, *floods = bound.lines(BoundReport(FOUND, FLOODS))
    assert ": 0.50 (1,990.0 of 2,000.0 requests/s refused by a bare server, client on 0.75 CPUs" in first
    assert "4,000.0 refused/s, 40.0 answered/s, 240 µs of CPU for each refusal" in floods[0]
    assert "flood of the bare server, 64 connections: 9,000.0 refused/s" in floods[1]
    _, warning, *_ = bound.lines(BoundReport(replace(FOUND, refused_per_s=1900.0), FLOODS))
    assert "too high" in warning
