"""`python -m app.healthcheck`: exit 0 if the service in this container is ready; the health check of a container.

Imports nothing but http.client: it runs every few seconds beside the service, and what it costs the service loses.
"""

import os
import sys
from http.client import HTTPConnection, HTTPException

PATIENCE_S = 2


def main() -> int:
    """Ask `/readyz` on this machine. Return 0 if it says 200, else 1 with the reason on standard output."""
    port = int(os.environ.get("MOBILENET_PORT") or 8000)
    connection = HTTPConnection("localhost", port, timeout=PATIENCE_S)
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        print(answer.status, answer.read().decode(errors="replace"))
    except (OSError, HTTPException) as exc:
        print(exc)
        return 1
    return 0 if answer.status == 200 else 1


if __name__ == "__main__":
    sys.exit(main())
