"""What runs in the template and in the workers of `processes`: `python -m app.runtime.worker DESCRIPTOR`."""

import ctypes
import gc
import os
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import cache
from typing import Any, cast

from app.config import Settings
from app.engines.litert import LiteRTEngine
from app.logs import configure_logging
from app.mobilenet.variants import Precision
from app.model.model import Model
from app.runtime import ipc
from app.runtime.pipeline import Local, in_process

PR_SET_PDEATHSIG = 1  # of Linux' prctl.h
NICENESS = 10
"""A worker computes for milliseconds at a time; who passes on what another waits for goes first."""


def _template(control: socket.socket) -> None:
    """Load the models, say how that went, and fork a worker for each socket that comes."""
    settings: Settings = ipc.receive(control)
    configure_logging(settings)
    try:
        pipeline = in_process(settings.model_copy(update={"model_threads": 1}))
    except Exception as exc:
        ipc.send(control, (True, exc))
        return
    ipc.send(control, (False, [_described(model) for model in pipeline.models]))
    gc.freeze()  # what was loaded lies on pages that no collection touches, so that they remain shared
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for a worker
    while descriptors := socket.recv_fds(control, 1, 1)[1]:
        if os.fork() == 0:
            control.close()
            _answer(socket.socket(fileno=descriptors[0]), pipeline, settings.model_threads)
            os._exit(0)
        os.close(descriptors[0])


def _described(model: Model) -> tuple[Model, tuple[str, Precision, int]]:
    unloaded: Any = None  # an engine stays where it is
    engine = model.engine
    return replace(model, engine=unloaded), (engine.name, engine.precision, engine.classes)


def _answer(front: socket.socket, pipeline: Local, threads: int) -> None:
    """Call what is asked for until nobody asks any more."""
    _end_with_template()
    os.nice(NICENESS)

    @cache
    def wide() -> Local:
        """Return the same with all threads: made here, as threads do not survive a fork, by who is ever alone."""
        engines = [cast("LiteRTEngine", model.engine).with_threads(threads) for model in pipeline.models]
        pairs = zip(pipeline.models, engines, strict=True)
        return pipeline.with_models([replace(model, engine=engine) for model, engine in pairs])

    def fitting(alone: bool) -> Local:
        return wide() if alone and threads > 1 else pipeline

    methods: dict[str, Callable[..., Any]] = {
        "run": lambda alone, *arguments: fitting(alone).run(*arguments),
        "preview": pipeline.preview,
    }
    with suppress(EOFError, OSError):
        while True:
            method, arguments = ipc.receive(front)
            try:
                answer: tuple[bool, Any] = False, methods[method](*arguments)
            except Exception as exc:
                answer = True, exc
            ipc.send(front, answer)


def _end_with_template() -> None:
    # A worker that hangs would not see that its socket was closed.
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def main(descriptor: int) -> None:
    """Be the template at the other end of this socket."""
    # The process in front decides when to stop, and says so by closing its sockets.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    with socket.socket(fileno=descriptor) as control:
        _template(control)


if __name__ == "__main__":
    main(int(sys.argv[1]))
