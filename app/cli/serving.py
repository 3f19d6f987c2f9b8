"""What `mobilenet serve` does once its settings are read and its socket is bound.

NumPy and the web framework are imported within the functions, when another process loads the model already.
"""

import os
import signal
import sys
from functools import partial
from pathlib import Path
from socket import socket
from typing import TYPE_CHECKING

from app.cli.signals import end_in_order
from app.cli.streams import tell
from app.config import Settings
from app.errors import BAD_START, StartError
from app.runtime.loading import start_loading
from app.server.listener import address

if TYPE_CHECKING:
    from collections.abc import Callable

    from app.runtime.pipeline import Pipeline


def alone(settings: Settings, listener: socket) -> None:
    """Serve in this process. Raises `StartError`."""
    ready = start_loading(settings)  # other processes load the model while this one imports the web framework
    from app.main import create_app, end_process
    from app.server.serve import serve_alone

    early = [_early(ready)]  # taken out of it, or models would stay in memory after others have taken over
    app = create_app(settings, lambda _: early.pop() or start_loading(settings)(), on_fault=end_process)
    serve_alone(app, settings, listener, partial(_print_address, listener))


def in_several(settings: Settings, listener: socket) -> int:
    """Serve in several processes that are forked from one; return the exit code. Raises `StartError`.

    All that they need is imported before, but their models: each loads those by itself, as the files are by then.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # threads of NumPy's would not survive the forks
    import app.runtime.pool
    from app.server.serve import serve_in_several

    if settings.model_workers == 0:
        import app.runtime.inline
        import app.runtime.local
    import app.main  # noqa: F401

    return serve_in_several(_one_of_several, settings, listener, partial(_print_address, listener))


def _one_of_several(channel: socket, counts: Path, control: socket) -> None:
    """Serve the connections that come over the channel, until it is closed; exit with `BAD_START` if it cannot."""
    from app.main import create_app, end_process, settings_or_exit
    from app.observability.snapshots import Snapshots
    from app.server.serve import serve_as_one_of_several

    for number in (signal.SIGTERM, signal.SIGINT):
        end_in_order(number, 0)  # until it serves
    settings = settings_or_exit()
    try:
        early = [_early(start_loading(settings))]
    except StartError as exc:
        tell(exc)
        sys.exit(BAD_START)
    app = create_app(
        settings,
        lambda _: early.pop() or start_loading(settings)(),
        snapshots=Snapshots(counts),
        on_fault=end_process,
        supervisor=control,
    )
    serve_as_one_of_several(app, settings, channel)


def _print_address(listener: socket) -> None:
    print(f"mobilenet: serving on {address(listener)}, documentation on /docs", file=sys.stderr, flush=True)


def _early(ready: "Callable[[], Pipeline]") -> "Pipeline | None":
    """Wait until the model is loaded, so that a wrong file is reported once and before anything listens.

    Return None if the self-test of the model failed.
    """
    from app.model.selftest import SelfTestFailed

    try:
        return ready()
    except SelfTestFailed:
        return None  # the application will test it again, and `/readyz` will say why it failed
