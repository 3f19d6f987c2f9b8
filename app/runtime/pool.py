"""The pipeline in processes of its own, seen from the HTTP process (decision 0009); their side is in `worker`.

A *template* process loads and tests the models, and forks a *worker* for every socket that it is sent. So the event
loop never waits for the interpreter lock of a decoder, the workers share the memory of the loaded models, and a worker
that dies of a file is replaced within milliseconds.
"""

import asyncio
import fcntl
import logging
import os
import socket
import subprocess
import sys
import termios
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from math import inf
from typing import Any

from app.config import Settings
from app.engines.base import Pixels, Predictions
from app.errors import StartError, UndecodableImage
from app.machine import oom_kills
from app.mobilenet.variants import Precision
from app.model.model import Model
from app.runtime import area, handshake, requests
from app.runtime.area import Area
from app.runtime.connection import Connection
from app.runtime.faults import WorkerDied, WorkerFailed, WorkerHung
from app.runtime.pipeline import Job, JobResult, Overlay, Payload, Sizes, broken
from app.runtime.replies import Reader
from app.runtime.requests import Request
from app.runtime.template import Template
from app.runtime.watchdog import TICKS

logger = logging.getLogger(__name__)

STOP_S = 5.0
"""How long the template may take to end before it is killed."""
FORK_S = 5.0
"""How long the template may leave a socket untaken before it is killed. It takes one within milliseconds."""
ENDED = "the process that forks the workers ended"


_loading: "set[Pool]" = set()
"""The pools whose templates are loading models. A thread of this process waits for each."""


class RemoteEngine:
    """What the HTTP process knows of an engine in the workers."""

    def __init__(self, name: str, precision: Precision, classes: int) -> None:
        self.name, self.precision, self.classes = name, precision, classes

    def predict(self, images: Sequence[Pixels]) -> Predictions:
        """Raise `NotImplementedError`: it runs in the workers."""
        raise NotImplementedError("the engine is in another process")


class Pool:
    """A pipeline that runs every batch in a worker: it starts workers as they are needed, and keeps idle ones."""

    models: tuple[Model, ...]

    def __init__(self, settings: Settings, template: Template | None = None) -> None:
        """Begin to load and test the models, in a template that may have been started before.

        Raises `StartError` if it cannot be started.
        """
        self.runs = settings.model_workers
        self._under_way = 0  # batches; one that is alone may use all threads
        self._template, self._control = template or Template.start()
        self._idle: list[Connection] = []
        self._watching: asyncio.Task[None] | None = None
        with suppress(OSError):
            handshake.send(self._control, settings.without_keys())  # nor must a file find them that takes a worker over
        self._patience_s = settings.patience_s
        self._oom_kills = oom_kills()

    def ready(self) -> "Pool":
        """Wait until the models are loaded and tested. Raises `StartError` or `SelfTestFailed`."""
        try:
            self.models = self._loaded()
        except BaseException:
            self.end()
            raise
        self._places = {model.variant: place for place, model in enumerate(self.models)}
        self._sizes = [Sizes.of(model) for model in self.models]
        return self

    def _loaded(self) -> tuple[Model, ...]:
        """Return the models once the template has loaded and tested them. Raises whatever the template raised."""
        _loading.add(self)
        try:
            raised, answer = handshake.receive(self._control)
        except (EOFError, OSError) as exc:
            raise StartError(
                "the process that loads the model ended before it was done; was there too little memory?"
            ) from exc
        finally:
            _loading.discard(self)
        if raised:
            raise answer
        self._control.shutdown(socket.SHUT_RD)  # from now on nothing can be received here, and so nothing unpickled
        return tuple(replace(model, engine=RemoteEngine(*facts)) for model, facts in answer)

    @property
    def fault(self) -> str | None:
        """Why no worker can be started any more; None if all is well."""
        return None if self._template.poll() is None else ENDED

    async def run(self, jobs: Sequence[Job], large: bool = False) -> list[JobResult]:
        """Classify the images of a batch in a worker, as `Local.run` does. Raises what `_ask` does."""
        self._under_way += 1
        try:
            results: list[JobResult] = await self._ask(Request(jobs, large, alone=self._under_way == 1))
        finally:
            self._under_way -= 1
        return results

    async def preview(self, payload: Payload, resolution: int, over: Overlay | None = None) -> bytes:
        """Draw the network's input in a worker, as `Local.preview` does. Raises what `_ask` does."""
        png: bytes = await self._ask(Request([Job(payload, ())], resolution=resolution, over=over))
        return png

    async def _ask(self, request: Request) -> Any:
        """Have a worker answer a request, and if it dies another one: the request need not be the reason.

        Raises `UndecodableImage` for an image of which the other one dies too, `WorkerDied` for several images,
        `WorkerHung`, `WorkerFailed`, `Unavailable` once the template has ended, or the `ServiceError` of a preview.
        """
        try:
            return await self._answer(self._free(), request)
        except WorkerHung:
            raise
        except WorkerDied:
            return await self._ask_again(request)

    async def _ask_again(self, request: Request) -> Any:
        try:
            return await self._answer(self._fork(), request)
        except WorkerHung:
            raise
        except WorkerDied as exc:
            if self.fault:
                raise broken(self.fault) from exc
            if len(request.jobs) > 1:  # they are asked for once more, one by one
                raise
            raise UndecodableImage(
                "decoding the image ended its process, twice: it is damaged, or takes more memory than there is"
            ) from exc

    def _free(self) -> Connection:
        while self._idle:
            if (worker := self._idle.pop()).alive:
                return worker
        return self._fork()

    async def _answer(self, worker: Connection, request: Request) -> Any:
        places = [self._places[variant] for job in request.jobs for variant in job.variants]
        reader = Reader(request, [self._sizes[place] for place in places])
        try:
            body = await worker.ask(requests.pack(request, places), reader, self._patience_s)
        except BaseException as exc:  # cancellation too: the next request would get the reply to this one
            worker.close()
            if isinstance(exc, WorkerDied):
                logger.error("%s%s", exc, self._for_want_of_memory())
            raise
        self._idle.append(worker)
        if isinstance(body, Exception):
            raise body
        return body

    def _for_want_of_memory(self) -> str:
        before, self._oom_kills = self._oom_kills, oom_kills()
        return ": the kernel killed it for want of memory" if self._oom_kills > before else ""

    def _fork(self) -> Connection:
        """Have a worker forked.

        Raises `Unavailable` if the template has ended, which closes our end of its socket, or `WorkerFailed` if there
        is no room for another worker, such as for its files.
        """
        try:
            worker = self._ask_for_worker()
        except ConnectionError as exc:
            raise broken(ENDED) from exc
        except OSError as exc:
            raise WorkerFailed(f"no worker can be asked for: {exc.strerror}") from exc
        if self._watching is None or self._watching.done():
            self._watching = asyncio.create_task(self._watch())
        return worker

    def _ask_for_worker(self) -> Connection:
        """Send the template what a new worker has, and return our end of it. Raises `OSError`."""
        descriptor = area.new()
        try:
            ours, theirs = socket.socketpair()
            with theirs:
                worker = Connection(ours, Area(descriptor))
                try:
                    socket.send_fds(self._control, [b"f"], [theirs.fileno(), descriptor])
                except OSError:
                    worker.close()
                    raise
        finally:
            os.close(descriptor)
        return worker

    async def _watch(self) -> None:
        """Wait until the template has taken what it was sent, or kill it, which ends even one that is stopped.

        Ticks are counted, so that time in which all processes stand still is one tick at most.
        """
        ticks, left = 0, inf
        while ticks < TICKS:
            await asyncio.sleep(FORK_S / TICKS)
            before, left = left, _unread(self._control)
            if not left:
                return
            ticks = ticks + 1 if left >= before else 0
        logger.error("the process that forks the workers has hung for %g s and is killed", FORK_S)
        self._template.kill()

    async def close(self) -> None:
        """End the idle workers, and with the template the busy ones."""
        if self._watching is not None:
            self._watching.cancel()
        for worker in self._idle:
            worker.close()
        await asyncio.to_thread(self.end)

    def end(self) -> None:
        """End the template, and with it all workers."""
        self._control.close()
        self._template.terminate()  # it heeds this only while it loads the models
        try:
            self._template.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._template.kill()
            self._template.wait()


def _unread(sender: socket.socket) -> int:
    """Return how much of what it was sent the other end of a socket has not read: the kernel's bytes for it."""
    return int.from_bytes(fcntl.ioctl(sender, termios.TIOCOUTQ, bytes(4)), sys.byteorder)


def stop_loading() -> None:
    """End all processes that load models, and compilers with them. Whoever waits for the models gets `StartError`."""
    for pool in tuple(_loading):
        pool.end()
