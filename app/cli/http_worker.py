"""One of several HTTP processes, as the supervisor starts it: `python -m app.cli.http_worker CHANNEL FILE`.

`CHANNEL` is the descriptor of the socket over which its connections come, `FILE` the path that it writes its counts to.
"""

import socket
import sys
from pathlib import Path

from app.main import create_app, end_process, settings_or_exit
from app.observability.snapshots import Snapshots
from app.server.serve import serve_as_one_of_several

if __name__ == "__main__":
    settings = settings_or_exit()
    application = create_app(settings, snapshots=Snapshots(Path(sys.argv[2])), on_fault=end_process)
    serve_as_one_of_several(application, settings, socket.socket(fileno=int(sys.argv[1])))
