"""One of several HTTP processes, as the supervisor starts it: `python -m app.cli.http_worker CHANNEL FILE CONTROL`.

`CHANNEL` is the descriptor of the socket over which its connections come, `FILE` the path that it writes its counts to,
and `CONTROL` the descriptor of the socket over which it is told to reload.
"""

import signal
import socket
import sys
from pathlib import Path

from app.server.garbage import collect_none


def main(channel: int, counts: str, control: int) -> None:
    """Serve the connections that come over the channel, until it is closed."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the supervisor says when to reload
    collect_none()
    from app.main import create_app, end_process, settings_or_exit
    from app.observability.snapshots import Snapshots
    from app.server.serve import serve_as_one_of_several

    settings = settings_or_exit()
    connections, supervisor = socket.socket(fileno=channel), socket.socket(fileno=control)
    application = create_app(settings, snapshots=Snapshots(Path(counts)), on_fault=end_process, supervisor=supervisor)
    serve_as_one_of_several(application, settings, connections)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
