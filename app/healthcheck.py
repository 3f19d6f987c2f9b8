"""The health check of the container: `python -m app.healthcheck` exits with 0 if the service is ready, else with 1.

It imports little more than `http.client`, because it runs every few seconds and takes its CPU time from the service.
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
    """Ask `/readyz` of the service in this container and print the answer. Return 0 if its status is 200, else 1."""
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
    """Return a connection to `MOBILENET_HOST`: an address, all addresses, or a Unix socket (`unix:` and its path)."""
    if host.startswith(UNIX):
        connection = HTTPConnection("localhost", timeout=PATIENCE_S)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(PATIENCE_S)
        with suppress(OSError):  # if nobody listens there, the request will fail and say so
            connection.sock.connect(host.removeprefix(UNIX))
        return connection
    return HTTPConnection("localhost" if host in EVERYWHERE else host, int(port), timeout=PATIENCE_S)


if __name__ == "__main__":
    sys.exit(main())
