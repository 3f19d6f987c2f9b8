"""The port for gRPC, kept for this service while it starts, and for its HTTP processes while they share it."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from app.config import PREFIX, Settings
from app.errors import StartError
from app.server.listener import at_address

NAME = f"{PREFIX}GRPC_PORT"


@contextmanager
def kept(settings: Settings, http: socket.socket) -> Iterator[None]:
    """Find out whether the port is free, and with several HTTP processes keep others from taking it.

    The socket of HTTP does not listen yet, so that the kernel would let gRPC have its port, too.

    Each process listens on it by itself, and the kernel spreads connections over them. The socket that is bound here
    does not listen. Where the port is 0, the processes are told of the one that it became. A process that is alone
    takes its port itself, later. Raises `StartError`, whose message is one line, if the port is taken.
    """
    if settings.grpc_port is None:
        yield
        return
    if http.family != socket.AF_UNIX and http.getsockname()[1] == settings.grpc_port:
        raise StartError(f"{NAME}={settings.grpc_port} is the port of HTTP; give each a port of its own")
    at_address(settings.host, settings.grpc_port, NAME).close()  # this fails where others share a port, too
    if settings.http_workers == 1:
        yield
        return
    with at_address(settings.host, settings.grpc_port, NAME, socket.SO_REUSEPORT) as bound:
        os.environ[NAME] = str(bound.getsockname()[1])
        yield
