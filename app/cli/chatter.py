"""Keeps what native libraries print by themselves from a person who waits for something else."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

STANDARD_ERROR = 2


@contextmanager
def silenced() -> Iterator[None]:
    """Drop what TensorFlow and LiteRT write to standard error past Python; what Python writes there is still seen.

    Settings of these libraries do not silence all of it. A line before the first of them is ready, for instance, says
    that there is no GPU.
    """
    python, own = sys.stderr, os.dup(STANDARD_ERROR)
    python.flush()
    with open(os.devnull, "w") as nowhere, os.fdopen(own, "w", buffering=1, errors="backslashreplace") as seen:
        os.dup2(nowhere.fileno(), STANDARD_ERROR)
        sys.stderr = seen
        try:
            yield
        finally:
            sys.stderr = python
            seen.flush()
            os.dup2(own, STANDARD_ERROR)
