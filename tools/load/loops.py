"""The two shapes of a load: requests at a constant rate (open loop), or one after the other (closed loop).

In an open loop a request is sent when it is due, whether or not earlier ones have been answered, and its latency counts
from then. So a service that stalls neither slows down the requests nor hides how long its users would have waited; a
closed loop does both, which is known as coordinated omission.
"""

import asyncio
import time
from collections.abc import Iterable
from itertools import cycle, islice

from tools.load.client import MAX_CONNECTIONS, TIMEOUT_S, LoadClient
from tools.load.messages import Message
from tools.load.result import LoadResult


async def open_loop(
    url: str,
    messages: Iterable[Message],
    *,
    rate_per_s: float,
    seconds: float,
    max_connections: int = MAX_CONNECTIONS,
    timeout_s: float = TIMEOUT_S,
) -> LoadResult:
    """Send the messages, over and over, at a constant rate; then wait for the requests that are still under way."""
    client = LoadClient(url, max_connections=max_connections, timeout_s=timeout_s)
    started = time.perf_counter()
    try:
        for number, message in enumerate(islice(cycle(messages), round(rate_per_s * seconds))):
            due = started + number / rate_per_s
            if (early_s := due - time.perf_counter()) > 0:
                await asyncio.sleep(early_s)
            client.send(message, due)
        await client.finish()
    finally:
        await client.close()
    return client.result(started, seconds)


async def closed_loop(
    url: str, messages: Iterable[Message], *, connections: int, seconds: float, timeout_s: float = TIMEOUT_S
) -> LoadResult:
    """Send the messages, over and over, on so many connections, on each as soon as the last answer has come."""
    client = LoadClient(url, max_connections=connections, timeout_s=timeout_s)
    source = cycle(messages)
    started = time.perf_counter()

    def again() -> None:
        now = time.perf_counter()
        if now < started + seconds:
            client.send(next(source), now)

    client.on_end = again
    try:
        for _ in range(connections):
            again()
        await client.finish()
    finally:
        await client.close()
    return client.result(started, seconds)
