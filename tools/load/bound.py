"""Measures the most that the service could answer under overload, if its refusals cost only what the kernel takes.

Three loads take turns, so that other work on the machine disturbs all of them alike: the overload, full load, and full
load beside a bare server that refuses the rest of the overload. The bare server runs on the same CPUs, in a process of
its own with the priority of the process that takes the service's requests, and the same client sends the same bodies to
both (`tools/load/refuser.py`). A pure flood then compares what a refusal costs in the service and in the bare server.
"""

import asyncio
import os
import time
from collections.abc import Collection, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from math import nan
from statistics import median
from typing import Any, NamedTuple

import uvloop

from tools.load.loops import closed_loop, open_loop
from tools.load.messages import Message, post
from tools.load.refuser import refusing
from tools.load.report import format_number, with_progress
from tools.load.result import TOO_MANY_REQUESTS, LoadResult
from tools.load.service import cpu_s, pinned, serving, tree

TURNS = 5
REACHED = 0.98
"""The part of the excess that must be refused in time, or else the bound is too high."""
FLOOD_CONNECTIONS, FLOOD_QUEUE = 64, 4


class Loads(NamedTuple):
    """What is sent: so many connections are full load, and of the requests of the overload some are in excess."""

    connections: int
    overload_per_s: float
    excess_per_s: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Turn:
    """What the service answered with 200 under each load, in requests per second, and what became of the excess.

    `bound_per_s` is what it answered beside the bare server, which in time refused `refused_per_s` of `excess_per_s`.
    Meanwhile the client took `client_cpus` seconds of CPU time in each second: near 1 it was the bottleneck, since it
    has one thread.
    """

    overload_per_s: float
    capacity_per_s: float
    bound_per_s: float
    excess_per_s: float
    refused_per_s: float
    client_lag_p99_ms: float
    client_cpus: float

    @property
    def goodput(self) -> float:
        """What the service answered under overload, in relation to its capacity; nan if that is 0."""
        return self.overload_per_s / self.capacity_per_s if self.capacity_per_s else nan

    @property
    def bound(self) -> float:
        """What it answered beside the bare server, in relation to its capacity; nan if that is 0."""
        return self.bound_per_s / self.capacity_per_s if self.capacity_per_s else nan

    @property
    def reached(self) -> bool:
        """Whether the bare server got and refused all of the excess in time, but for a small part."""
        return self.refused_per_s >= REACHED * self.excess_per_s


@dataclass(frozen=True, slots=True)
class Flood:
    """How many requests a server refused, of a flood that it can only refuse.

    `refusal_us` is the CPU time that its processes took for each, without those of a lower priority, which run the
    model. `client_cpus` is as in `Turn`.
    """

    server: str
    refused_per_s: float
    answered_per_s: float
    refusal_us: float
    client_cpus: float


@dataclass(frozen=True, slots=True)
class BoundReport:
    """The medians of goodput and of its bound, both in relation to the capacity, and all that was measured for them."""

    goodput: float
    bound: float
    turns: list[Turn]
    floods: list[Flood]

    @classmethod
    def of(cls, turns: list[Turn], floods: list[Flood]) -> "BoundReport":
        """Summarise what was measured."""
        return cls(median(turn.goodput for turn in turns), median(turn.bound for turn in turns), turns, floods)


def measure(url: str, bodies: Sequence[bytes], cpus: Collection[int], loads: Loads) -> list[Turn]:
    """Put the service at `url`, which runs on `cpus`, under the three loads by turns, the bare server beside it."""
    with refusing(pinned(cpus)) as bare:

        def take(number: int) -> Turn:
            work = turn(url, bare.url, bodies, loads)
            return uvloop.run(with_progress(work, f"turn {number} of {TURNS}", 3 * loads.seconds))

        return [take(number) for number in range(1, TURNS + 1)]


async def turn(url: str, bare_url: str, bodies: Sequence[bytes], loads: Loads) -> Turn:
    """Put the service at `url` under the three loads, one after the other."""
    messages, refused_messages = _messages(url, bodies), _messages(bare_url, bodies)
    seconds = loads.seconds

    def full_load() -> Coroutine[Any, Any, LoadResult]:
        return closed_loop(url, messages, connections=loads.connections, seconds=seconds)

    overload = await open_loop(url, messages, rate_per_s=loads.overload_per_s, seconds=seconds)
    capacity = await full_load()
    before_s = time.process_time()
    excess = open_loop(bare_url, refused_messages, rate_per_s=loads.excess_per_s, seconds=seconds)
    answered, refused = await asyncio.gather(full_load(), excess)
    return Turn(
        overload_per_s=overload.goodput_per_s,
        capacity_per_s=capacity.goodput_per_s,
        bound_per_s=answered.goodput_per_s,
        excess_per_s=refused.offered_per_s,
        refused_per_s=_refused_per_s(refused),
        client_lag_p99_ms=refused.lag_p99_ms,
        client_cpus=(time.process_time() - before_s) / seconds,
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
    """Yield a line for the goodput, two for its bound, one more if that is too high, and one for each flood."""
    turns = report.turns
    yield f"by turns, goodput at overload / capacity: {_spread([turn.goodput for turn in turns])}"
    yield f"by turns, beside a bare server that refuses the excess: {_spread([turn.bound for turn in turns])}"
    refused, excess, cpus, lag_ms = (
        median(getattr(turn, name) for turn in turns)
        for name in ("refused_per_s", "excess_per_s", "client_cpus", "client_lag_p99_ms")
    )
    yield f"  it refused {refused:,.0f} of {excess:,.0f} requests/s; {_client(cpus)}, its own lag p99 {lag_ms:.1f} ms"
    if missed := sum(not turn.reached for turn in turns):
        yield f"  this is too high: in {missed} of {len(turns)} turns the bare server refused less than was offered"
    for one in report.floods:
        yield (
            f"flood of the {one.server}: {one.refused_per_s:,.0f} refused/s, {one.answered_per_s:,.0f} answered/s, "
            f"{format_number(one.refusal_us, 0)} µs of CPU for a refusal; {_client(one.client_cpus)}"
        )


def _spread(ratios: Sequence[float]) -> str:
    low, middle, high = (format_number(value, 2) for value in (min(ratios), median(ratios), max(ratios)))
    return f"{middle} ({low} to {high})"


def _client(cpus: float) -> str:
    return f"the client took {cpus:.2f} CPUs"
