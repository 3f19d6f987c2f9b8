"""An engine in one precision, which `mobilenet bench` measures in a process of its own."""

import os
import signal
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from multiprocessing import active_children, get_context
from typing import Final, NamedTuple, NoReturn, TypeVar

from app.config import Settings
from app.errors import StartError, first_line
from app.mobilenet.variants import Precision
from app.model import latency
from app.model.model import Model
from app.model.selftest import SelfTestFailed

T = TypeVar("T")

AGAIN_S: Final = 0.5
"""Seconds between repeated SIGTERMs."""


class Loaded(NamedTuple):
    """What is known of a model that is ready to be measured: the name of its weights, its classes and its accuracy.

    `top1` is a share, 0 to 1, or None if it is unknown. `published` is whether the weights are those of Keras.
    """

    weights: str
    classes: int
    top1: float | None
    published: bool


class Contender:
    """An engine in one precision.

    Its process is started afresh and not forked from this one, as neither OpenVINO's threads nor TensorFlow's survive a
    fork, and no engine shall find what another has left (docs/decisions/0031).
    """

    def __init__(self, engine: str, precision: Precision) -> None:
        self.engine, self.precision = engine, precision
        self._start()

    def _start(self) -> None:
        self._process = ProcessPoolExecutor(1, get_context("spawn"), _end_in_order)
        others = active_children()
        # The process inherits what is blocked. So Ctrl-C, which reaches it too, is for the command, which then closes
        # it; it could not be caught there before all is imported.
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self._ready = self._process.submit(os.getpid)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        (self._child,) = set(active_children()) - set(others)

    def load(self, settings: Settings) -> Loaded:
        """Load the default variant of the settings, and test it as the service does.

        It replaces the one before. Raises `StartError`, whose message is one line, if this engine does not start.
        """
        own = {"engine": self.engine, "precision": self.precision, "variants": ()}
        return self._run(_load, settings.model_copy(update=own))

    def turn(self, seconds: float, least: int) -> list[float]:
        """Return how many milliseconds each run took of so many seconds, and of so many runs at least.

        Raises `StartError` if the engine fails.
        """
        return self._run(_turn, seconds, least)

    def close(self) -> None:
        """End the process at once, even while it imports or compiles: the user may have pressed Ctrl-C."""
        with suppress(BrokenProcessPool):
            if not self._ready.done():  # it still imports, and has begun nothing that it could leave half done
                self._child.kill()
            left = self._process.submit(os.getpid)
            while not left.done():  # a signal that arrives just before the process begins to wait is missed
                self._child.terminate()
                wait([left], AGAIN_S)
        self._process.shutdown(cancel_futures=True)

    def _run(self, work: Callable[..., T], *given: object) -> T:
        try:
            return self._process.submit(work, *given).result()
        except BrokenProcessPool as exc:
            self._process.shutdown()
            self._start()
            raise StartError("its process ended before it was done; was there too little memory?") from exc
        except (SelfTestFailed, RuntimeError) as exc:  # the engines' own errors are a `RuntimeError`
            raise StartError(first_line(exc)) from exc


def _end_in_order() -> None:
    """Have SIGTERM raise `SystemExit`, so that this process deletes half-written files and ends compilers."""
    signal.signal(signal.SIGTERM, _end)


def _end(number: int, _: object) -> NoReturn:
    signal.signal(number, signal.SIG_IGN)  # a second signal would interrupt the cleaning up
    sys.exit(128 + number)


_models: list[Model] = []
"""The model that this process measures, if a contender has started it."""


def _load(settings: Settings) -> Loaded:
    from app.runtime.local import in_process

    _models.clear()
    _models.extend(in_process(settings).models)
    (model,) = _models
    if model.engine.precision != settings.precision:  # a .tflite of others is served in its own
        raise StartError(f"{model.weights} is in {model.engine.precision}")
    top1 = model.top1_in(model.variant, settings.precision)
    return Loaded(model.weights, model.engine.classes, top1, model.published)


def _turn(seconds: float, least: int) -> list[float]:
    (model,) = _models
    return latency.runs(model.engine, model.variant, seconds, least)
