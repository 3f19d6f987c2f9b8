"""Goes through many images: several to a request, several requests at a time, and the results in order."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterable, Iterator, Sized
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from contextvars import ContextVar
from operator import length_hint
from threading import Event
from typing import Final, Generic, NamedTuple, TypeVar

from app.client.images import Image
from app.errors import ClientError, ServiceError

MOST_IN_REQUEST: Final = 8
"""The most images in a request; docs/decisions/0018 says why."""
MOST_BYTES: Final = 8 * 2**20
"""The most bytes of several images in a request, which must not be too large, nor its images fill the memory."""
_AHEAD: Final = 2  # groups begun for each that may be under way, so that one that is slow does not hold up the others
_NEVER: Final = Event()
LEFT: Final = ContextVar("LEFT", default=_NEVER)
"""On a thread of `in_order`, what is set once nobody takes the results any more; elsewhere, what never is."""

T = TypeVar("T")
R = TypeVar("R")
A = TypeVar("A")

Progress = Callable[[int, int | None], object]
"""Is called after each image with how many are done, and how many there are, if that is known."""


class Item(NamedTuple, Generic[R, A]):
    """One of many images: what was passed, its result or its error, and the answer of the service that it was part of.

    `response` is None for an image that the service did not answer about, such as a file that cannot be read.
    """

    image: Image
    result: R | ServiceError | ClientError
    response: A | None


def group_size(items: Iterable[object], at_once: int, most: int = MOST_IN_REQUEST) -> int:
    """Return how many items to pass on together: `most`, or fewer if all `at_once` would not get their share."""
    return max(1, min(most, length_hint(items, most * at_once) // at_once))


def grouped(items: Iterable[T], size: int, bytes_of: Callable[[T], int]) -> Iterator[list[T]]:
    """Yield groups of up to `size` items in their order, each with up to `MOST_BYTES`, if it is more than one item."""
    group: list[T] = []
    room = MOST_BYTES
    for item in items:
        wanted = bytes_of(item)
        if group and (len(group) == size or wanted > room):
            yield group
            group, room = [], MOST_BYTES
        group.append(item)
        room -= wanted
    if group:
        yield group


def in_order(call: Callable[[list[T]], list[R]], groups: Iterable[list[T]], at_once: int) -> Generator[R]:
    """Yield what the call makes of each group, item by item and in order, with up to `at_once` calls on threads.

    Groups are taken only as they are needed, so that there may be any number. Closing the iterator begins no further
    call, sets `LEFT` for those under way, and waits for them.
    """
    left = Event()
    begun: deque[Future[list[R]]] = deque()
    with ThreadPoolExecutor(at_once, initializer=LEFT.set, initargs=(left,)) as pool:
        try:
            for group in groups:
                begun.append(pool.submit(call, group))
                while begun and (begun[0].done() or len(begun) >= _AHEAD * at_once):
                    yield from begun.popleft().result()
            while begun:
                yield from begun.popleft().result()
        finally:
            left.set()
            for future in begun:
                future.cancel()


async def in_order_async(
    call: Callable[[list[T]], Awaitable[list[R]]], groups: Iterable[list[T]], at_once: int
) -> AsyncGenerator[R]:
    """Yield as `in_order` does, with calls of asyncio. Closing the iterator cancels those under way."""
    begun: deque[asyncio.Task[list[R]]] = deque()
    turn = asyncio.Semaphore(at_once)
    try:
        for group in groups:
            begun.append(asyncio.create_task(_in_turn(turn, call, group)))
            while begun and (begun[0].done() or len(begun) >= _AHEAD * at_once):
                for one in await begun[0]:
                    yield one
                begun.popleft()
        while begun:
            for one in await begun[0]:
                yield one
            begun.popleft()
    finally:
        for task in begun:
            task.cancel()
        await asyncio.gather(*begun, return_exceptions=True)


async def _in_turn(
    turn: AbstractAsyncContextManager[None], call: Callable[[list[T]], Awaitable[list[R]]], group: list[T]
) -> list[R]:
    async with turn:
        return await call(group)


def total(items: Iterable[object]) -> int | None:
    """Return how many items there are, if that is known."""
    return len(items) if isinstance(items, Sized) else None
