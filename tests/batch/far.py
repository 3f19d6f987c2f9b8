"""The storage of another machine, in memory: what is asked of it is counted, and it can stop to answer."""

import math
from dataclasses import dataclass
from typing import Any

URL = "memory://bucket"


class AwayError(Exception):
    """What goes wrong at a package that fsspec finds, whose errors need not be an `OSError`."""


@dataclass
class Far:
    """Files by their names in a bucket. Whatever is read of one from `answers_bytes` on fails."""

    system: Any
    answers_bytes: float = math.inf
    asked: int = 0

    def put(self, name: str, content: bytes) -> str:
        """Keep a file, and return its URL."""
        self.system.pipe(f"/bucket/{name}", content)
        return f"{URL}/{name}"

    def check(self, at: int) -> None:
        """Count a request for what is in a file from there on. Raises `AwayError`."""
        self.asked += 1
        if at >= self.answers_bytes:
            raise AwayError("the line is dead")
