"""How many connections a process has, so that the files and processes that its requests need can still be opened."""

import logging
from collections.abc import Callable
from itertools import count
from math import inf
from time import monotonic

from app.config import Settings
from app.errors import StartError
from app.machine import open_files_limit
from app.oip.grpc import most_connections as grpc_connections

logger = logging.getLogger(__name__)

OTHER_FILES = 32
"""Open files of a process beside its connections and model workers: about 20, and those that are open for a moment."""
WORKER_FILES = 2
"""Open files for each model worker: its socket, and the memory that requests are written to."""
FEWEST = 8
"""With room for fewer connections than this, the service does not start."""
SECOND = 1.0


def most_connections(settings: Settings) -> int:
    """Return how many connections an HTTP process may have. Raises `StartError` if its open files allow too few."""
    limit = open_files_limit()
    most = _left(limit, settings)
    if most < FEWEST:
        enough = next(files for files in count(limit) if _left(files, settings) >= FEWEST)
        raise StartError(
            f"this process may have {limit} open files (ulimit -n); with {settings.model_workers} model workers it "
            f"needs at least {enough}"
        )
    return most


def _left(limit: int, settings: Settings) -> int:
    """Return how many of so many open files are left for connections over HTTP."""
    of_grpc = 0 if settings.grpc_port is None else grpc_connections(limit)
    return limit - OTHER_FILES - WORKER_FILES * settings.model_workers - of_grpc


class Bound:
    """Has no more connections taken while a process has as many as it may; they wait in the kernel meanwhile."""

    def __init__(
        self, most: int, pause: Callable[[], None], resume: Callable[[], None], at_pause: Callable[[], None]
    ) -> None:
        """Take what is called when there is no more room, and when there is again. `at_pause` counts the former."""
        self._most = most
        self._pause, self._resume, self._at_pause = pause, resume, at_pause
        self._paused = False
        self._said_at_s = -inf

    def open(self, connections: int) -> None:
        """Hear how many connections are open, whenever that changes."""
        full = connections >= self._most
        if full == self._paused:
            return
        self._paused = full
        if full:
            self._pause()
            self._at_pause()
            self._say()
        else:
            self._resume()

    def _say(self) -> None:
        """Write a line, unless there was one within the last second."""
        now_s = monotonic()
        if now_s - self._said_at_s >= SECOND:
            self._said_at_s = now_s
            logger.warning(
                "%d connections are open, as many as the limit of open files allows; more wait until one is closed",
                self._most,
            )
