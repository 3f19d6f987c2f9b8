"""The storage of another machine, in memory: what is asked of it is counted, and it can stop to answer."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

URL = "memory://bucket"


class AwayError(Exception):
    """What goes wrong at a package that fsspec finds, whose errors need not be an `OSError`."""


@dataclass
class Far:
    """Files by their names in a bucket. Whatever is read of one from `answers_bytes` on fails, and all of the `dead`.

    `pauses_s` are the pauses that were made before something was asked again. None takes any time; `on_pause` is called
    instead.
    """

    system: Any
    answers_bytes: float = math.inf
    dead: set[str] = field(default_factory=set)
    error: Exception = field(default_factory=lambda: AwayError("the line is dead"))
    asked: int = 0
    pauses_s: list[float] = field(default_factory=list)
    on_pause: Callable[[], object] = lambda: None

    def put(self, name: str, content: bytes) -> str:
        """Keep a file, and return its URL."""
        self.system.pipe(f"/bucket/{name}", content)
        return f"{URL}/{name}"

    def check(self, path: str, at: int) -> None:
        """Count a request for what is in a file from there on. Raises `error`."""
        self.asked += 1
        if at >= self.answers_bytes or path.removeprefix("/bucket/") in self.dead:
            raise self.error

    def pause(self, pause_s: float) -> None:
        """Note a pause."""
        self.pauses_s.append(pause_s)
        self.on_pause()

    def come_back(self) -> None:
        """Answer again."""
        self.answers_bytes = math.inf
        self.dead.clear()
