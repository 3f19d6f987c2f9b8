"""Serving: in this process, or in several HTTP processes that this one has forked and gives connections to."""

import asyncio
import signal
import socket
import sys
from collections.abc import Callable

from app.config import Settings
from app.errors import BAD_START
from app.logs import configure_logging
from app.observability.snapshots import shared_folder
from app.server.connections import most_connections
from app.server.garbage import collect_seldom
from app.server.listener import listen
from app.server.server import ServerAlone, ServerOfSeveral, graceful_timeout_s, uvicorn_config
from app.server.supervisor import Supervisor
from app.server.template import Serve, Template


def serve_alone(app: object, settings: Settings, listener: socket.socket, when_ready: Callable[[], None]) -> None:
    """Serve in this process until SIGTERM or SIGINT. `when_ready` is called once the listener listens.

    Raises `StartError` in one line if another service listens on the same port.
    """
    collect_seldom()
    listen(listener)
    server = ServerAlone(uvicorn_config(app, settings), most_connections(settings), listener)
    # uvicorn takes them once it runs, and raises them again when it is done: they must neither be lost before, nor end
    # this process after that as if it had failed.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, server.handle_exit)
    when_ready()
    server.run()


def serve_as_one_of_several(app: object, settings: Settings, channel: socket.socket) -> None:
    """Serve the connections that come over a channel, until it is closed.

    The process exits with `BAD_START` if the application cannot start.
    """
    server = ServerOfSeveral(uvicorn_config(app, settings), most_connections(settings), channel)
    try:
        server.run()
    except SystemExit:
        # uvicorn has a code of its own for an application that does not start, and has logged the reason.
        sys.exit(0 if server.started else BAD_START)


def serve_in_several(serve: Serve, settings: Settings, listener: socket.socket, when_ready: Callable[[], None]) -> int:
    """Serve in several processes until SIGTERM or SIGINT. Return the exit code.

    `serve` is what each of them does: all that it needs should be imported by now. `when_ready` is called when the
    first can serve. Raises `StartError` in one line.
    """
    configure_logging(settings)
    template = Template.start(serve)
    collect_seldom()
    with shared_folder() as folder:
        supervisor = Supervisor(template, folder, graceful_timeout_s(settings))
        return asyncio.run(supervisor.run(listener, settings.http_workers, when_ready))
