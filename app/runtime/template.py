"""How the process is started that loads the models. What it does then is in `worker`, and what it is asked in `pool`.

Little is imported here, so that it starts early: it imports its own part while its parent imports the rest.
"""

import os
import socket
import subprocess
import sys
from typing import NamedTuple

from app.config import PREFIX
from app.errors import StartError
from app.machine import no_room

WORKER_MODULE = "app.runtime.worker"
SINGLE_THREADED = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
"""Threads of numpy's linear algebra would not survive the fork, and nothing here needs them."""


class Template(NamedTuple):
    """The process, which waits for settings, and the socket over which it gets them and answers with its models."""

    process: subprocess.Popen[bytes]
    control: socket.socket

    @classmethod
    def start(cls) -> "Template":
        """Start the process. Raises `StartError` if that is impossible."""
        ours, theirs = socket.socketpair()
        command = [sys.executable, "-m", WORKER_MODULE, str(theirs.fileno())]
        with theirs:
            try:
                return cls(subprocess.Popen(command, pass_fds=[theirs.fileno()], env=_environment()), ours)
            except OSError as exc:
                ours.close()
                raise StartError(f"the process that loads the model cannot be started: {no_room(exc)}") from exc


def _environment() -> dict[str, str]:
    """Return the environment of the template without settings: it is sent those, without the keys."""
    return {name: value for name, value in os.environ.items() if not name.upper().startswith(PREFIX)} | SINGLE_THREADED
