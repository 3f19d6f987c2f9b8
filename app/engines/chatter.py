"""Keeps from standard error what native libraries say there by themselves, and loses no other line."""

import os
import re
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from threading import Thread
from typing import BinaryIO, Final

STANDARD_ERROR: Final = 2
DELEGATE: Final = re.compile(rb"INFO: Created TensorFlow Lite XNNPACK delegate for CPU\.")
TENSORFLOW: Final = re.compile(
    rb"I0000 |To enable the following instructions|WARNING: All log messages before absl|.*\bcuInit\b"
)
"""What TensorFlow says of itself and of GPUs while it is imported and begins. No setting of its own silences it."""
END: Final = b"\0end\n"
SMALLEST_MODEL: Final = b64decode(
    "GAAAAFRGTDMAAA4AFAAQAAwACAAAAAQADgAAABAAAAAcAAAAtAAAAAMAAAABAAAACAAAAAQABAAEAAAAAQAAABAAAAAMABQAEAAMAAgA"
    "BAAMAAAAEAAAADwAAABAAAAARAAAAAEAAAAQAAAAAAAKAAwAAAAIAAQACgAAAAgAAAAMAAAAAQAAAAEAAAABAAAAAAAAAAEAAAABAAAA"
    "AQAAAAAAAAACAAAAIAAAAAQAAADu////BAAAAAEAAAABAAAAAAAGAAgABAAGAAAABAAAAAEAAAABAAAAAQAAABAAAAAMAAwACwAAAAAA"
    "BAAMAAAAEwAAAAAAABM="
)
"""A model of TensorFlow Lite with one operation, max(x, 0), on one number."""


@cache
def hush_litert() -> None:
    """Have LiteRT say now, unheard, what it says once in each process: that it runs models by XNNPACK.

    There is no setting against it. The smallest model makes it speak, so that nothing is filtered while models are
    loaded that may be damaged, and whose errors count.
    """
    from ai_edge_litert.interpreter import Interpreter  # a process without models imports this module, too

    with hushed(DELEGATE):
        Interpreter(model_content=SMALLEST_MODEL, num_threads=1).allocate_tensors()


@contextmanager
def hushed(chatter: re.Pattern[bytes]) -> Iterator[None]:
    """Drop the lines that match from what this process writes to standard error meanwhile, and pass on all others."""
    try:
        seen = os.dup(STANDARD_ERROR)
    except OSError:  # it is closed, and nobody hears anything
        yield
        return
    heard, spoken = os.pipe()
    with (
        os.fdopen(seen, "wb", buffering=0) as own,
        os.fdopen(heard, "rb") as lines,
        os.fdopen(spoken, "wb", buffering=0) as end,
    ):
        os.dup2(spoken, STANDARD_ERROR)
        passing = Thread(target=_pass_on, args=(lines, own, chatter))
        passing.start()
        try:
            yield
        finally:
            os.dup2(own.fileno(), STANDARD_ERROR)
            end.write(END)
            passing.join()


def _pass_on(lines: BinaryIO, own: BinaryIO, chatter: re.Pattern[bytes]) -> None:
    """Pass on lines until `END`. A process that was started meanwhile may keep the pipe open for longer."""
    for line in lines:
        said = line.removesuffix(END)
        if said and not chatter.match(said):
            own.write(said)
        if said != line:
            return
