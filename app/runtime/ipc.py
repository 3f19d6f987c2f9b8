"""Messages between our processes, on a stream socket: how long it is, then a pickle. Both ends trust each other."""

import pickle
import socket
import struct
from typing import Any

LENGTH = struct.Struct("!Q")


def packed(message: object) -> tuple[bytes, bytes]:
    """Return the two parts of a message."""
    content = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    return LENGTH.pack(len(content)), content


def unpacked(received: bytearray) -> tuple[Any] | None:
    """Return the message that was received; None if there is more to come. One at a time is under way."""
    if len(received) < LENGTH.size:
        return None
    (length,) = LENGTH.unpack_from(received)
    if len(received) < LENGTH.size + length:
        return None
    return (pickle.loads(memoryview(received)[LENGTH.size :]),)  # noqa: S301 (from ourselves)


def send(to: socket.socket, message: object) -> None:
    """Send a message. Raises `OSError` if nobody reads it any more."""
    to.sendall(b"".join(packed(message)))


def receive(sender: socket.socket) -> Any:
    """Wait for a message. Raises `EOFError` if the other end was closed, or `OSError`."""
    (length,) = LENGTH.unpack(_exactly(sender, LENGTH.size))
    return pickle.loads(_exactly(sender, length))  # noqa: S301 (from ourselves)


def _exactly(sender: socket.socket, count: int) -> bytearray:
    content = bytearray(count)
    view, done = memoryview(content), 0
    while done < count:
        if not (size := sender.recv_into(view[done:])):
            raise EOFError
        done += size
    return content
