"""`python -m app.healthcheck`: exit 0 if the service in this container is ready; the health check of a container.

Imports nothing but http.client: it runs every few seconds beside the service, and what it costs the service loses.
"""

import os
import socket
import sys
from contextlib import closing, suppress
from http.client import HTTPConnection, HTTPException

PATIENCE_S = 2
UNIX = "unix:"
EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104 (where the service listens, not this)


def main() -> int:
    """Ask `/readyz` where the service listens. Return 0 if it says 200, else 1 with the reason on standard output."""
    host, port = os.environ.get("MOBILENET_HOST") or "localhost", os.environ.get("MOBILENET_PORT") or "8000"
    with closing(_connection(host, port)) as connection:
        try:
            connection.request("GET", "/readyz")
            answer = connection.getresponse()
            print(answer.status, answer.read().decode(errors="replace"))
        except (OSError, HTTPException) as exc:
            print(exc)
            return 1
    return 0 if answer.status == 200 else 1


def _connection(host: str, port: str) -> HTTPConnection:
    """Return a connection to where the service listens: on all addresses, on one, or on a Unix socket."""
    if host.startswith(UNIX):
        connection = HTTPConnection("localhost", timeout=PATIENCE_S)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(PATIENCE_S)
        with suppress(OSError):  # asking says that nobody listens there
            connection.sock.connect(host.removeprefix(UNIX))
        return connection
    return HTTPConnection("localhost" if host in EVERYWHERE else host, int(port), timeout=PATIENCE_S)


if __name__ == "__main__":
    sys.exit(main())
