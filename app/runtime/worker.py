"""The template and the workers of `pool`: `python -m app.runtime.worker DESCRIPTOR`.

The template loads and tests the models. Then it only forks a worker for every socket that the HTTP process sends it. A
worker reads requests from its socket and answers them, one after the other, until the other end is closed.
"""

import ctypes
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, NoReturn, cast

from app.config import Settings
from app.engines.base import ServingEngine
from app.errors import ServiceError
from app.logs import configure_logging
from app.machine import no_room
from app.mobilenet.variants import Precision, Variant
from app.model.model import Model
from app.runtime import handshake, replies, requests
from app.runtime.area import Area
from app.runtime.elsewhere import elsewhere
from app.runtime.local import Local, in_process
from app.runtime.memory import keep_to_limit
from app.runtime.pipeline import Overlay, Payload, Sizes
from app.runtime.requests import Request

logger = logging.getLogger(__name__)

GRACE_S = 2.0
"""How long after it was given up a worker that hangs is ended by its own alarm, which stops even a decoder in C."""
PR_SET_PDEATHSIG = 1  # of Linux' prctl.h
NICENESS = 10
"""Lower priority than the HTTP process, so that replies leave first."""


def _template(control: socket.socket) -> None:
    """Load the models, tell the HTTP process of them or of what went wrong, and fork a worker for each socket."""
    settings: Settings = handshake.receive(control)
    configure_logging(settings)
    try:
        pipeline = _loaded(settings.model_copy(update={"model_threads": 1}))
    except Exception as exc:
        _tell(control, (True, exc))
        return
    _tell(control, (False, [_described(model) for model in pipeline.models]))
    gc.freeze()  # the garbage collector of a worker would write to the pages of loaded objects, and so copy them
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel removes workers that have ended
    variants = [model.variant for model in pipeline.models]
    while descriptors := socket.recv_fds(control, 1, 2)[1]:
        with socket.socket(fileno=descriptors[0]) as front, closing(Area(descriptors[1])) as area:
            os.close(descriptors[1])
            if _forked(front, area, variants):
                control.close()  # a worker has a socket of its own; only the template may use this one
                _work(front, area, pipeline, settings)
                os._exit(0)


def _loaded(settings: Settings) -> Local:
    """Load and test the models: those of OpenVINO in another process, as its threads would not survive the next fork.

    What comes back from there is opened by each worker, when it runs its first image.
    """
    if settings.engine != "openvino":
        return in_process(settings)
    keep_to_limit(settings)

    def load() -> Sequence[Model]:
        _end_with_parent(signal.SIGTERM)
        return in_process(settings).models

    return Local(elsewhere(load), settings.max_pixels)


def _forked(front: socket.socket, area: Area, variants: Sequence[Variant]) -> bool:
    """Fork. Return whether this is the new process. If there may be no more processes, answer in place of a worker."""
    try:
        return os.fork() == 0
    except OSError as exc:
        logger.error("a worker cannot be started: %s", no_room(exc))
        with suppress(EOFError, OSError):
            requests.receive(front, area, variants)  # a reply that comes before the request would be nobody's
            front.sendall(replies.pack_failure(exc))
        return False


def _tell(control: socket.socket, message: object) -> None:
    """Tell the HTTP process how loading went. From then on it alone decides when to stop, by closing its socket.

    The signal is ignored first: an exception while this process ends by itself would be printed.
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    handshake.send(control, message)


def _described(model: Model) -> tuple[Model, tuple[str, Precision, int]]:
    unloaded: Any = None  # an engine cannot be sent
    engine = model.engine
    return replace(model, engine=unloaded), (engine.name, engine.precision, engine.classes)


def _work(front: socket.socket, area: Area, pipeline: Local, settings: Settings) -> None:
    """Answer requests until the HTTP process closes its end of the socket."""
    threads = settings.model_threads
    _end_with_parent(signal.SIGKILL)
    _die_first()
    os.nice(NICENESS)
    sizes = {model.variant: Sizes.of(model) for model in pipeline.models}
    variants = list(sizes)

    @cache
    def wide() -> Local:
        """Return the same models with all threads, which do not survive a fork and so are made when first needed."""
        engines = [cast("ServingEngine", model.engine).with_threads(threads) for model in pipeline.models]
        pairs = zip(pipeline.models, engines, strict=True)
        return pipeline.with_models([replace(model, engine=engine) for model, engine in pairs])

    def answer(request: Request) -> bytes:
        jobs, large, alone, resolution, over = request
        if resolution:
            return _preview(pipeline, jobs[0].payload, resolution, over)
        fitting = wide() if alone and threads > 1 else pipeline
        return replies.pack_results(jobs, fitting.run(jobs, large), sizes)

    with suppress(EOFError, OSError):
        while True:
            request = requests.receive(front, area, variants)
            signal.setitimer(signal.ITIMER_REAL, settings.patience_s + GRACE_S)
            try:
                reply = answer(request)
            except Exception as exc:
                logger.exception("a request to a worker failed")
                reply = replies.pack_failure(exc)
            signal.setitimer(signal.ITIMER_REAL, 0)
            front.sendall(reply)


def _preview(pipeline: Local, payload: Payload, resolution: int, over: Overlay | None) -> bytes:
    try:
        return replies.pack_png(pipeline.preview(payload, resolution, over))
    except ServiceError as exc:
        return replies.pack_refusal(exc)


def _die_first() -> None:
    """When memory runs out, have the kernel end a worker, which is replaced, and not the HTTP process."""
    with suppress(OSError):  # this is not Linux, or it is not allowed
        Path("/proc/self/oom_score_adj").write_text("1000")


def _end_with_parent(number: signal.Signals) -> None:
    """Have the kernel send this process a signal when its parent ends: one that is busy sees no closed socket."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number)


def _exit(*_: object) -> NoReturn:
    """Exit, and heed the signal no more: once more, it would be an exception in whatever cleans up."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(0)


def main(descriptor: int) -> None:
    """Run the template on this socket, whose other end the HTTP process has."""
    # Ctrl-C reaches every process of the terminal. The HTTP process decides when to stop, and closes its sockets then.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # where all processes of a service get it, one of them is meant
    # While the models load it sends this signal, or the kernel does if it was killed. Whatever compiles ends, too, and
    # its half-written files are removed.
    signal.signal(signal.SIGTERM, _exit)
    _end_with_parent(signal.SIGTERM)
    # The HTTP process may be stopped, or killed, at any time: then the template is not wanted any more.
    with socket.socket(fileno=descriptor) as control, suppress(EOFError, ConnectionError):
        _template(control)


if __name__ == "__main__":
    main(int(sys.argv[1]))
