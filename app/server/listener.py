"""The socket on which the service takes connections: bound to an address or to a path, or given to the process."""

import errno
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from app.config import PREFIX, UNIX
from app.errors import StartError
from app.server import activation

BACKLOG = 2048
"""How many connections may wait at a socket that listens, until they are taken."""


@contextmanager
def listener(host: str, port: int) -> Iterator[socket.socket]:
    """Yield the socket that this process was started with, or else one that is bound to an address or a path.

    A bound socket does not listen yet: a connection is refused until the model is loaded. A socket that was given
    listens already, and connections to it wait. The file of a Unix socket that was bound here is removed at the end.

    Raises `StartError`, whose message is one line, if there is no such socket.
    """
    if given := activation.given():
        with given:
            yield given
    elif host.startswith(UNIX):
        with _at_path(Path(host.removeprefix(UNIX))) as bound:
            yield bound
    else:
        with at_address(host, port, f"{PREFIX}PORT") as bound:
            yield bound


def listen(bound: socket.socket) -> None:
    """Have a bound socket listen.

    Several sockets may be bound to a port while none of them listens. Raises `StartError` if another one does already.
    """
    try:
        bound.listen(BACKLOG)
    except OSError as exc:
        raise _cannot_listen(address(bound), exc) from exc


def address(listener: socket.socket) -> str:
    """Return where a socket takes connections: as a URL, or as `unix:` and a path."""
    name = listener.getsockname()
    if listener.family == socket.AF_UNIX:
        # Linux has Unix sockets without a file, whose names begin with a zero byte and are written with an at sign.
        return UNIX + (name if isinstance(name, str) else name.decode(errors="replace").replace("\0", "@", 1))
    host, port = name[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def at_address(host: str, port: int, name: str, *options: int) -> socket.socket:
    """Return a socket with these options that is bound to a port; raises `StartError`, which names its setting."""
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    for option in (socket.SO_REUSEADDR, *options):
        bound.setsockopt(socket.SOL_SOCKET, option, 1)
    try:
        bound.bind((host, port))
    except OSError as exc:
        bound.close()
        raise _cannot_listen(f"{PREFIX}HOST={host} {name}={port}", exc) from exc
    return bound


@contextmanager
def _at_path(path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as bound:
        try:
            _bind(bound, path)
        except OSError as exc:
            raise _cannot_listen(f"{PREFIX}HOST={UNIX}{path}", exc) from exc
        try:
            yield bound
        finally:
            bound.close()
            with suppress(OSError):  # it was removed, or may not be
                if _is_left_over(path):  # while this service was stopping another may have taken the path
                    path.unlink()


def _bind(unbound: socket.socket, path: Path) -> None:
    try:
        unbound.bind(str(path))
    except OSError as exc:
        if exc.errno != errno.EADDRINUSE or not _is_left_over(path):
            raise
        path.unlink()
        unbound.bind(str(path))


def _is_left_over(path: Path) -> bool:
    """Whether a file is the Unix socket of a process that has ended.

    A connection of another type finds out and does not disturb whoever has the socket: it is refused as one of a wrong
    type, even while the other process does not listen yet, and as going nowhere if there is no other process.
    """
    if not stat.S_ISSOCK(path.stat().st_mode):
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
        return probe.connect_ex(str(path)) == errno.ECONNREFUSED


def _cannot_listen(where: str, exc: OSError) -> StartError:
    return StartError(f"{where}: cannot listen there: {exc.strerror or exc}")
