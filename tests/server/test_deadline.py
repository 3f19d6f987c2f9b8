"""When something is done that has a time."""

import asyncio

from app.server.deadline import Deadline


async def test_a_time_may_be_moved_to_an_earlier_one() -> None:
    over = asyncio.Event()
    deadline = Deadline(over.set)
    deadline.set(60)
    deadline.set(0)
    async with asyncio.timeout(10):
        await over.wait()
    assert not deadline.is_set
