"""The two messages of the start, pickled: settings to the template, and its models, or its error, back.

Whoever writes a pickle decides what its reader runs. Here that is no danger. The template trusts the process that
started it, and it sends its message before any process has opened a stranger's file. Nothing is unpickled after that:
requests to the workers and their replies have fixed layouts, see `requests` and `replies`.
"""

import pickle
import socket
import struct
from typing import Any

from app.runtime.requests import exactly

LENGTH = struct.Struct("=Q")


def send(to: socket.socket, message: object) -> None:
    """Send a message behind its length. Raises `OSError` if the other end is closed."""
    content = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    to.sendall(LENGTH.pack(len(content)) + content)


def receive(sender: socket.socket) -> Any:
    """Wait for a message. Raises `EOFError` if the other end is closed before all of it has come, or `OSError`."""
    (length,) = LENGTH.unpack(exactly(sender, LENGTH.size))
    return pickle.loads(exactly(sender, length))  # noqa: S301 (see above)
