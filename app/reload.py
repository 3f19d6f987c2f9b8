"""Reloads: the settings' files are read again while the service goes on, by one reload at a time."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import NamedTuple

logger = logging.getLogger(__name__)


class Outcome(NamedTuple):
    """What came of a reload: whether new models serve, and which ones, or else why the old ones keep serving."""

    swapped: bool
    said: str


Reload = Callable[[], Awaitable[Outcome]]


class Reloads:
    """Reloads one after the other. Whoever asks while one is under way gets another one, which such askers share.

    The one under way may have read the files already, before they were what the asker wants to be served.
    """

    def __init__(self, reload: Reload, count: Callable[[bool], None]) -> None:
        """`count` is told of every reload that has ended, and whether new models serve."""
        self._reload = reload
        self._count = count
        self._one_at_a_time = asyncio.Lock()
        self._next: asyncio.Task[Outcome] | None = None
        self._tasks: set[asyncio.Task[Outcome]] = set()

    def ask(self) -> "asyncio.Task[Outcome]":
        """Return the next reload, which begins now or after the one that is under way."""
        if self._next is None:
            self._next = asyncio.get_running_loop().create_task(self._run())
            self._tasks.add(self._next)
            self._next.add_done_callback(self._tasks.discard)
        return self._next

    async def asked(self) -> Outcome:
        """Ask for a reload and wait for it. It goes on if the caller is cancelled, because others may wait for it."""
        task = self.ask()
        await asyncio.wait([task])
        return Outcome(False, "the service is stopping") if task.cancelled() else task.result()

    async def _run(self) -> Outcome:
        async with self._one_at_a_time:
            self._next = None
            outcome = await self._reload()
            self._count(outcome.swapped)
            if outcome.swapped:
                logger.info("reloaded: %s", outcome.said)
            else:
                logger.error("not reloaded; the old model keeps serving: %s", outcome.said)
            return outcome

    def cancel(self) -> None:
        """End the reload that is under way, and begin no other."""
        for task in self._tasks:
            task.cancel()
