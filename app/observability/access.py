"""The log of requests: a line for each, but in a flood of refusals a line a second that counts them."""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Mapping

logger = logging.getLogger("app.access")

REFUSALS = (401, 413, 415, 429, 503)
"""Statuses of requests that were refused without any work, and that the metrics count as refused."""
SUMMED = (*REFUSALS, 404, 405)
"""Statuses of which a flood must not fill a disk with lines: scanners need no key for 404 and 405, either."""
NO_REQUEST = "-"
"""The method and the path of what was refused because it is not HTTP. A flood of that must not fill a disk either."""
LINES_A_SECOND = 10
"""How many refusals with one status have lines of their own within a second."""
SECOND = 1.0

PATH_CHARACTERS = 200
"""So much of a path is written and repeated: callers choose it, and no route is as long."""


def shortened(path: str) -> str:
    """Return a path, cut if it is long."""
    return path if len(path) <= PATH_CHARACTERS else f"{path[:PATH_CHARACTERS]}…"


class AccessLog:
    """Writes the lines of requests. It belongs to one event loop."""

    def __init__(self) -> None:
        self._refused: Counter[int] = Counter()  # since the second began
        self._second: asyncio.TimerHandle | None = None

    def write(self, method: str, path: str, status: int, facts: Callable[[int], Mapping[str, object]]) -> None:
        """Write the line of a request that was answered, unless it is one of many refusals.

        `facts` returns what the line says, for the status; it is called only if there is a line.
        """
        refused = status in SUMMED or method == NO_REQUEST
        if not logger.isEnabledFor(logging.INFO) or (refused and self._is_one_of_many(status)):
            return
        # The path in quotes, with escapes: it may hold line breaks, and each request is to have one line.
        # `logger.info` would look for its caller on the stack, which costs a fifth of the whole line.
        record = logger.makeRecord(logger.name, logging.INFO, __file__, 0, "%s %r", (method, shortened(path)), None)
        record.facts = facts(status)
        logger.handle(record)

    def _is_one_of_many(self, status: int) -> bool:
        self._refused[status] += 1
        if self._second is None:
            self._second = asyncio.get_running_loop().call_later(SECOND, self._sum_up)
        return self._refused[status] > LINES_A_SECOND

    def _sum_up(self) -> None:
        for status, count in self._refused.items():
            if (more := count - LINES_A_SECOND) > 0:
                logger.warning("%d more requests were refused with %d in a second", more, status)
        self._refused.clear()
        self._second = None
