"""Serving: binding the address, and one HTTP process or several behind it."""

import signal
import socket
import sys
from math import ceil

import uvicorn
from uvicorn.config import STARTUP_FAILURE

from app.config import Settings
from app.errors import BAD_START, StartError
from app.observability import metrics
from app.server.protocol import Protocol
from app.server.supervisor import Supervisor, collect_seldom

GRACE_S = 5


def bind(host: str, port: int) -> socket.socket:
    """Return a socket that is bound and does not listen: until the model is loaded a connection is refused.

    Raises `StartError` if the address cannot be had.
    """
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as exc:
        listener.close()
        raise StartError(f"MOBILENET_HOST={host} MOBILENET_PORT={port}: cannot listen there: {exc.strerror}") from exc
    listener.set_inheritable(True)
    return listener


def _config(app: object, settings: Settings) -> uvicorn.Config:
    return uvicorn.Config(
        app,  # type: ignore[arg-type]
        http=Protocol,
        workers=settings.http_workers,
        log_config=None,
        access_log=False,
        proxy_headers=False,  # nothing here depends on the client's address, and `Prefix` needs that of the proxy
        server_header=False,
        timeout_graceful_shutdown=ceil(settings.request_timeout_ms / 1000) + GRACE_S,
    )


def serve_one(app: object, settings: Settings, listener: socket.socket) -> None:
    """Serve in this process until SIGTERM or SIGINT."""
    collect_seldom()
    server = uvicorn.Server(_config(app, settings))
    # The server raises the signal again when it is done: stopping when told to is success.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    server.run(sockets=[listener])


def serve_many(settings: Settings, listener: socket.socket) -> None:
    """Serve in several processes, and replace those that die."""
    with metrics.shared() as folder:
        supervisor = Supervisor(_config("app.main:app", settings), listener, folder)
        supervisor.run()
    if any(process.exitcode == STARTUP_FAILURE for process in supervisor.processes):
        sys.exit(BAD_START)
