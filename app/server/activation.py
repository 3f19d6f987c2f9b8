"""Socket activation: whoever starts the service, such as systemd, may give it a socket that listens already.

The process is told so by environment variables, as sd_listen_fds(3) describes.
"""

import os
import socket

from app.errors import StartError

FIRST_DESCRIPTOR = 3
VARIABLES = ("LISTEN_PID", "LISTEN_PIDFDID", "LISTEN_FDS", "LISTEN_FDNAMES")


def given() -> socket.socket | None:
    """Return the socket that this process was started with, or None if it was started without one.

    The variables that tell of it are removed from the environment, because they are not meant for other processes.
    Raises `StartError` if there are several sockets, or one that does not listen.
    """
    told = {name: os.environ.pop(name, "") for name in VARIABLES}
    if told["LISTEN_PID"] != str(os.getpid()) or told["LISTEN_FDS"] in ("", "0"):
        return None
    if told["LISTEN_FDS"] != "1":
        raise StartError(f"LISTEN_FDS={told['LISTEN_FDS']}: the service can be started with one socket, not with more")
    if not _listens(FIRST_DESCRIPTOR):
        raise StartError(
            f"LISTEN_FDS=1: descriptor {FIRST_DESCRIPTOR} is not a stream socket that listens; with systemd, "
            "use ListenStream= and Accept=no"
        )
    os.set_inheritable(FIRST_DESCRIPTOR, False)
    return socket.socket(fileno=FIRST_DESCRIPTOR)


def _listens(descriptor: int) -> bool:
    try:
        with socket.socket(fileno=os.dup(descriptor)) as found:
            listens = found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1
            return listens and found.type == socket.SOCK_STREAM
    except OSError:  # it is closed, or not a socket
        return False
