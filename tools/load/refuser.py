"""The cheapest server there is: it answers every request with 429 as soon as its head has come, and nothing else.

It reads the bodies, as the service does, into memory that it uses again and again. What it takes of a CPU is almost
only what the kernel takes for accepting, receiving, sending and closing, so no service refuses for much less.

This file is run as a process of its own, which imports only the standard library. It prints its address, and ends when
its standard input is closed, so that it never outlives whoever started it.
"""

import re
import select
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

READ_BYTES = 256 * 1024
"""As much as uvloop reads at once."""
BACKLOG = 2048
"""As many connections as uvicorn lets wait."""
HEAD_END = re.compile(rb"\r\nContent-Length: (\d+)\r\n\r\n")
"""The end of a head as the client of the loads writes it: its length is its last field."""
REFUSAL = b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\n\r\n"


class RefusingServer(NamedTuple):
    """A running server that refuses everything."""

    url: str
    pid: int


@contextmanager
def refusing(prefix: Sequence[str] = ()) -> Iterator[RefusingServer]:
    """Run the server as a process of its own until the block ends; its command follows `prefix`, such as `taskset`."""
    command = [*prefix, sys.executable, __file__]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as popen:
        assert popen.stdout is not None
        yield RefusingServer(popen.stdout.readline().strip(), popen.pid)


class _Connection:
    """A connection whose requests are refused. At most one of `_head` and `_body_left` is not empty."""

    __slots__ = ("_body_left", "_head", "_socket")

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._head = b""  # the part that has come of a head
        self._body_left = 0

    def refuse(self, buffer: bytearray, view: memoryview) -> bool:
        """Read what has come, and refuse the requests in it. Return whether the client may send more."""
        kept = len(self._head)
        buffer[:kept] = self._head
        try:
            read = self._socket.recv_into(view[kept:])
            at, end, refusals = self._body_left, kept + read, 0
            while at < end and (found := HEAD_END.search(buffer, at, end)):
                at = found.end() + int(found[1])
                refusals += 1
            self._head, self._body_left = bytes(view[at:end]), max(0, at - end)
            if refusals:
                self._socket.sendall(REFUSAL * refusals)
        except ConnectionError:
            return False
        return read > 0

    def close(self) -> None:
        self._socket.close()


def serve(listener: socket.socket, until: int) -> None:
    """Refuse everything until the file descriptor `until` can be read, which it also can when it was closed."""
    buffer = bytearray(READ_BYTES)
    view = memoryview(buffer)
    connections: dict[int, _Connection] = {}
    epoll = select.epoll()
    epoll.register(until, select.EPOLLIN)
    epoll.register(listener, select.EPOLLIN)
    while True:
        for number, _ in epoll.poll():
            if (connection := connections.get(number)) is not None:
                if not connection.refuse(buffer, view):
                    connections.pop(number).close()
            elif number == until:
                return
            else:
                accepted, _ = listener.accept()
                connections[accepted.fileno()] = _Connection(accepted)
                epoll.register(accepted, select.EPOLLIN)


def main() -> None:
    """Serve on a free port until the standard input is closed."""
    with socket.create_server(("127.0.0.1", 0), backlog=BACKLOG) as listener:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
        serve(listener, sys.stdin.fileno())


if __name__ == "__main__":
    main()
