"""What the HTTP process and the template say to each other once, at the start: pickles behind their length.

Unpickling runs whatever the sender likes. Here that is no danger: the template reads settings from the process that
started it, and says what it loaded before it or any worker has opened a stranger's file. Nothing is unpickled after
that: what the workers are asked and answer has a fixed layout, see `requests` and `replies`.
"""

import pickle
import socket
import struct
from typing import Any

from app.runtime.requests import exactly

LENGTH = struct.Struct("=Q")


def send(to: socket.socket, message: object) -> None:
    """Send a message. Raises `OSError` if the other end is closed."""
    content = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    to.sendall(LENGTH.pack(len(content)) + content)


def receive(sender: socket.socket) -> Any:
    """Wait for a message. Raises `EOFError` if the other end is closed before all of it has come, or `OSError`."""
    (length,) = LENGTH.unpack(exactly(sender, LENGTH.size))
    return pickle.loads(exactly(sender, length))  # noqa: S301 (see above)
