"""One of several HTTP processes, as the supervisor starts it: `python -m app.cli.http_worker CHANNEL FILE CONTROL`.

`CHANNEL` is the descriptor of the socket over which its connections come, `FILE` the path that it writes its counts to,
and `CONTROL` the descriptor of the socket over which it is told to reload.
"""

import signal
import socket
import sys
from pathlib import Path

from app.main import create_app, end_process, settings_or_exit
from app.observability.snapshots import Snapshots
from app.server.serve import serve_as_one_of_several

if __name__ == "__main__":
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the supervisor says when to reload
    settings = settings_or_exit()
    channel, control = (socket.socket(fileno=int(sys.argv[place])) for place in (1, 3))
    snapshots = Snapshots(Path(sys.argv[2]))
    application = create_app(settings, snapshots=snapshots, on_fault=end_process, supervisor=control)
    serve_as_one_of_several(application, settings, channel)
