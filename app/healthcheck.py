"""The health check of the container: `python -m app.healthcheck` exits with 0 if the service is ready, else with 1.

It asks where the service listens by its flags, the environment and `.env`, as the service itself does. It imports
little more than `http.client`, because it runs every few seconds and takes its CPU time from the service.
"""

import os
import re
import socket
import sys
from collections.abc import Mapping
from contextlib import closing, suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path

PATIENCE_S = 2
UNIX = "unix:"
EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104 (where the service listens, not this)
FIRST_PROCESS = Path("/proc/1/cmdline")
"""The command line of what a container was started with: the service, or an init process that is given it."""
DOTENV = Path(".env")


def main() -> int:
    """Ask `/readyz` of the service in this container and print the answer. Return 0 if its status is 200, else 1."""
    host, port = _setting("host") or "localhost", _setting("port") or "8000"
    with closing(_connection(host, port)) as connection:
        try:
            connection.request("GET", "/readyz")
            answer = connection.getresponse()
            print(answer.status, answer.read().decode(errors="replace"))
        except (OSError, HTTPException) as exc:
            print(exc)
            return 1
    return 0 if answer.status == 200 else 1


def _setting(name: str) -> str | None:
    """Return the value of a setting: of the flag, of the environment or of `.env`, the first that there is."""
    variable = f"MOBILENET_{name.upper()}"
    return _flag(f"--{name}") or _found(variable, os.environ) or _in_file(variable)


def _found(variable: str, given: Mapping[str, str | None]) -> str | None:
    """Return the value of a variable, whose name may be in small letters, too."""
    return {name.upper(): value for name, value in given.items() if value}.get(variable)


def _flag(flag: str) -> str | None:
    try:
        words = re.split(r"[\0\s=]+", FIRST_PROCESS.read_text())
    except OSError:  # this is not Linux, or the process is hidden
        return None
    serving = words[words.index("serve") :] if "serve" in words else []
    return serving[serving.index(flag) + 1] if flag in serving[:-1] else None


def _in_file(variable: str) -> str | None:
    if not DOTENV.is_file():
        return None
    from dotenv import dotenv_values

    return _found(variable, dotenv_values(DOTENV))


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
