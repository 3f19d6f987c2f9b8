"""Measures the most that the service could still answer under overload, if its refusals cost it nothing themselves.

The service runs at its capacity, while a bare server on the same CPUs, in a process of its own with the same priority,
refuses the rest of the overload (`tools/load/refuser.py`). The same client sends the same bodies to both. What the
kernel takes to receive requests that are refused, no service can save, so its goodput is not above this one but by
chance. A pure flood then compares what a refusal costs in the service and in the bare server.
"""

import asyncio
import os
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from math import nan
from typing import NamedTuple

import uvloop

from tools.load.loops import closed_loop, open_loop
from tools.load.messages import Message, post
from tools.load.refuser import refusing
from tools.load.report import format_number, with_progress
from tools.load.result import TOO_MANY_REQUESTS, LoadResult
from tools.load.service import cpu_s, pinned, serving, tree

REACHED = 0.98
"""The part of the offered refusals that must be answered in time, or else the bound is too high."""
FLOOD_CONNECTIONS, FLOOD_QUEUE = 64, 4


class Loads(NamedTuple):
    """What is sent for the bound: to the service what showed its capacity, and to the bare server `excess_per_s`."""

    connections: int
    capacity_per_s: float
    excess_per_s: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Bound:
    """The service at its capacity, while a bare server refuses the rest of an overload on the same CPUs.

    `goodput_per_s` is of the service, and `goodput_ratio` its relation to the capacity. Of `offered_per_s` the bare
    server answered `refused_per_s` in time. `client_cpus` is the CPU time that the client took in each second: near 1
    it was the bottleneck, since it has one thread.
    """

    goodput_per_s: float
    goodput_ratio: float
    offered_per_s: float
    refused_per_s: float
    client_lag_p99_ms: float
    client_cpus: float

    @property
    def reached(self) -> bool:
        """Whether the bare server got and answered all that was offered, but for a small part."""
        return self.refused_per_s >= REACHED * self.offered_per_s


@dataclass(frozen=True, slots=True)
class Flood:
    """How many requests a server refused, of a flood that it can only refuse.

    `refusal_us` is the CPU time that its processes took for each, without those of a lower priority, which run the
    model. `client_cpus` is as in `Bound`.
    """

    server: str
    refused_per_s: float
    answered_per_s: float
    refusal_us: float
    client_cpus: float


@dataclass(frozen=True, slots=True)
class BoundReport:
    """The bound, and a flood of the service and one of the bare server."""

    bound: Bound
    floods: list[Flood]


def measure(url: str, bodies: Sequence[bytes], cpus: Collection[int], loads: Loads) -> Bound:
    """Put the service at `url`, which runs on `cpus`, under its load, beside a bare server on the same CPUs."""
    with refusing(pinned(cpus)) as bare:
        before_s = time.process_time()
        work = with_progress(offer_both(url, bare.url, bodies, loads), "bound", loads.seconds)
        answered, refused = uvloop.run(work)
        client_cpus = (time.process_time() - before_s) / loads.seconds
    return Bound(
        goodput_per_s=answered.goodput_per_s,
        goodput_ratio=answered.goodput_per_s / loads.capacity_per_s,
        offered_per_s=refused.offered_per_s,
        refused_per_s=_refused_per_s(refused),
        client_lag_p99_ms=refused.lag_p99_ms,
        client_cpus=client_cpus,
    )


async def offer_both(url: str, bare_url: str, bodies: Sequence[bytes], loads: Loads) -> tuple[LoadResult, LoadResult]:
    """Put the service under its load and offer the excess to the bare server, at the same time; return both results."""
    rate_per_s, seconds = loads.excess_per_s, loads.seconds
    return await asyncio.gather(
        closed_loop(url, _messages(url, bodies), connections=loads.connections, seconds=seconds),
        open_loop(bare_url, _messages(bare_url, bodies), rate_per_s=rate_per_s, seconds=seconds),
    )


def measure_floods(bodies: Sequence[bytes], cpus: Collection[int], seconds: float) -> list[Flood]:
    """Flood a service whose queue is much shorter than the number of connections, and then the bare server."""
    short_queue = {"MOBILENET_MAX_QUEUE": str(FLOOD_QUEUE), "MOBILENET_MAX_IMAGES": "1"}
    with serving(cpus=cpus, settings=short_queue) as service:
        found = flood("service", service.url, service.popen.pid, bodies, seconds)
    with refusing(pinned(cpus)) as bare:
        return [found, flood("bare server", bare.url, bare.pid, bodies, seconds)]


def flood(server: str, url: str, pid: int, bodies: Sequence[bytes], seconds: float) -> Flood:
    """Send as many requests as a server takes, on many connections, and count its refusals."""
    pids = [each for each in tree(pid) if _priority(each) == _priority(pid)]
    work = closed_loop(url, _messages(url, bodies), connections=FLOOD_CONNECTIONS, seconds=seconds)
    before_s = cpu_s(pids), time.process_time()
    result = uvloop.run(with_progress(work, f"flood of the {server}", seconds))
    server_s, client_s = cpu_s(pids) - before_s[0], time.process_time() - before_s[1]
    refusals = result.counts.get(str(TOO_MANY_REQUESTS), 0)
    return Flood(
        server=server,
        refused_per_s=_refused_per_s(result),
        answered_per_s=result.goodput_per_s,
        refusal_us=1e6 * server_s / refusals if refusals else nan,
        client_cpus=client_s / seconds,
    )


def _priority(pid: int) -> int:
    return os.getpriority(os.PRIO_PROCESS, pid)


def _messages(url: str, bodies: Sequence[bytes]) -> list[Message]:
    return [Message(post(url, body)) for body in bodies]


def _refused_per_s(result: LoadResult) -> float:
    return result.ended_per_s.get(str(TOO_MANY_REQUESTS), 0.0)


def lines(report: BoundReport) -> Iterator[str]:
    """Yield a line for the bound, one more if it is too high, and a line for each flood."""
    bound = report.bound
    yield (
        f"bound of goodput / capacity, if refusals cost only what the kernel takes: "
        f"{format_number(bound.goodput_ratio, 2)} ({format_number(bound.refused_per_s)} of "
        f"{format_number(bound.offered_per_s)} requests/s refused by a bare server, client on "
        f"{bound.client_cpus:.2f} CPUs, its own lag p99 {format_number(bound.client_lag_p99_ms)} ms)"
    )
    if not bound.reached:
        yield "the bound is too high: fewer requests were refused than were offered"
    for one in report.floods:
        yield (
            f"flood of the {one.server}, {FLOOD_CONNECTIONS} connections: {format_number(one.refused_per_s)} "
            f"refused/s, {format_number(one.answered_per_s)} answered/s, {format_number(one.refusal_us, 0)} µs of CPU "
            f"for each refusal, client on {one.client_cpus:.2f} CPUs"
        )
