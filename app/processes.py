"""The pipeline in processes of their own, forked from one that loaded it: `docs/decisions/0009` says why.

The *template* loads the models, tests them, and then only forks a worker for each socket that it is sent. A worker
answers batches on its socket until the other end closes it. So HTTP never waits for the interpreter lock of a decoder,
the workers share the memory of what the template loaded, and one that dies of what it decodes is replaced in
milliseconds.
"""

import logging
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

from app.config import Settings
from app.engines.engine import Pixels, Probabilities
from app.errors import StartError
from app.mobilenet.variants import Precision, Variant
from app.model import Model
from app.pipeline import Compared, Comparison, Outcomes, Payload, Pipeline, in_process

logger = logging.getLogger(__name__)

STOP_S = 5.0
ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
"""Threads of numpy's linear algebra would not survive a fork, and nothing here needs them."""


class WorkerDied(Exception):
    """A worker ended in the middle of its work."""


class Worker:
    """The end of a worker's socket that asks."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def ask(self, method: str, *arguments: Any) -> Any:
        """Have a method called, of those that `app.worker` knows; return whether it raised, and what.

        Raises `WorkerDied`.
        """
        try:
            self._connection.send((method, arguments))
            return self._connection.recv()
        except (EOFError, OSError) as exc:
            raise WorkerDied("a worker ended in the middle of its work") from exc

    def close(self) -> None:
        """Let the worker end."""
        self._connection.close()


class Workers:
    """Workers that were forked from one template, idle or busy."""

    def __init__(self, settings: Settings) -> None:
        """Start the template."""
        self._control, theirs = socket.socketpair()
        command = [sys.executable, "-m", "app.worker", str(theirs.fileno())]
        with theirs:
            self._template = subprocess.Popen(command, pass_fds=[theirs.fileno()], env=os.environ | ENVIRONMENT)
        self._forking = threading.Lock()
        self._idle: list[Worker] = []
        with suppress(OSError), Connection(os.dup(self._control.fileno())) as connection:
            connection.send(settings)

    def models(self) -> tuple[Model, ...]:
        """Return the models once they are loaded and tested. Raises what went wrong with that."""
        try:
            with Connection(os.dup(self._control.fileno())) as connection:
                raised, answer = connection.recv()
        except (EOFError, OSError) as exc:
            raise StartError(
                "the process that loads the model ended before it was done; was there too little memory?"
            ) from exc
        if raised:
            raise answer
        return tuple(replace(model, engine=RemoteEngine(facts, model.variant, self)) for model, facts in answer)

    @property
    def fault(self) -> str | None:
        """Why no worker can be had any more; None if all is well."""
        return None if self._template.poll() is None else "the process that forks the workers ended"

    def ask(self, method: str, *arguments: Any) -> Any:
        """Have a worker call a method; if it dies, a new one, since it may not have been the fault of this work.

        Raises `WorkerDied` if the new one dies too, or what the method raised.
        """
        try:
            worker = self._idle.pop()
        except IndexError:
            worker = self._fork()
        try:
            return self._ask(worker, method, *arguments)
        except WorkerDied:
            return self._ask(self._fork(), method, *arguments)

    def _ask(self, worker: Worker, method: str, *arguments: Any) -> Any:
        try:
            raised, answer = worker.ask(method, *arguments)
        except WorkerDied:
            logger.error("a worker ended in the middle of its work")
            worker.close()
            raise
        self._idle.append(worker)
        if raised:
            raise answer
        return answer

    def _fork(self) -> Worker:
        ours, theirs = socket.socketpair()
        with theirs, self._forking, suppress(OSError):  # without a template the worker's end is closed at once
            socket.send_fds(self._control, [b"f"], [theirs.fileno()])
        return Worker(Connection(ours.detach()))

    def close(self) -> None:
        """End the template, and with it the workers."""
        self._control.close()
        try:
            self._template.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._template.kill()
            self._template.wait()
        for worker in self._idle:
            worker.close()


class RemoteEngine:
    """An engine that workers have, for a variant."""

    def __init__(self, facts: tuple[str, Precision, int], variant: Variant, workers: Workers) -> None:
        self.name, self.precision, self.classes = facts
        self._variant = variant
        self._workers = workers

    def predict(self, images: Sequence[Pixels]) -> Probabilities:
        """Return `[n, classes]` probabilities, as every engine does."""
        probabilities: Probabilities = self._workers.ask("predict", list(images), self._variant)
        return probabilities


class Processes:
    """A pipeline in as many workers as run at once."""

    models: tuple[Model, ...]

    def __init__(self, settings: Settings) -> None:
        """Begin to load the models and to test them, elsewhere."""
        self.runs = settings.threads
        self._counting = threading.Lock()
        self._under_way = 0  # one alone has the threads of all, and is answered the sooner
        self._workers = Workers(settings)

    def ready(self) -> "Processes":
        """Wait until the models are loaded and tested. Raises `StartError` in one line, or `SelfTestFailed`."""
        try:
            self.models = self._workers.models()
        except BaseException:
            self._workers.close()
            raise
        return self

    @property
    def fault(self) -> str | None:
        """Why it will never run again; None if all is well."""
        return self._workers.fault

    def run(self, payloads: Sequence[Payload], large: bool = False, variant: Variant | None = None) -> Outcomes:
        """Classify in a worker, as `Pipeline` says. Raises `WorkerDied` too."""
        outcomes: Outcomes = self._ask("run", list(payloads), large, variant)
        return outcomes

    def compare(self, wanted: Sequence[Comparison], large: bool = False) -> Compared:
        """Classify in a worker, as `Pipeline` says. Raises `WorkerDied` too."""
        compared: Compared = self._ask("compare", list(wanted), large)
        return compared

    def _ask(self, method: str, *arguments: Any) -> Any:
        with self._counting:
            self._under_way += 1
            alone = self._under_way == 1
        try:
            return self._workers.ask(method, alone, *arguments)
        finally:
            with self._counting:
                self._under_way -= 1

    def preview(self, payload: Payload) -> bytes:
        """Have a worker draw it, as `Pipeline` says. Raises `WorkerDied` too."""
        png: bytes = self._workers.ask("preview", payload)
        return png

    def close(self) -> None:
        """End the workers."""
        self._workers.close()


def begin(settings: Settings) -> Callable[[], Pipeline]:
    """Begin to load and test what the settings name; return what waits until that is done.

    LiteRT does so in processes of its own, TensorFlow, which cannot fork, in this one and not before somebody waits.
    The function returned raises `StartError` in one line, or `SelfTestFailed`.
    """
    if settings.engine == "tensorflow":
        return partial(in_process, settings)
    return Processes(settings).ready
