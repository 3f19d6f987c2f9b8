"""The pipeline in processes of their own, forked from one that loaded it: `docs/decisions/0009` says why.

The *template* loads the models, tests them, and then only forks a worker for each socket that it is sent. A worker
answers batches on its socket until the other end closes it. So HTTP never waits for the interpreter lock of a decoder,
the workers share the memory of what the template loaded, and one that dies of what it decodes is replaced in
milliseconds.
"""

import asyncio
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, cast

from app.config import PREFIX, Settings
from app.engines.base import Pixels, Probabilities
from app.errors import StartError
from app.mobilenet.variants import Precision
from app.model.model import Model
from app.runtime import handshake, requests
from app.runtime.inline import Inline, Threads
from app.runtime.pipeline import Job, JobResult, Payload, Pipeline, in_process
from app.runtime.replies import BadReply, Body, Reader, WorkerDied, WorkerHung
from app.runtime.requests import Buffer, Request

logger = logging.getLogger(__name__)

WORKER_MODULE = "app.runtime.worker"
STOP_S = 5.0
SINGLE_THREADED = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
"""Threads of numpy's linear algebra would not survive a fork, and nothing here needs them."""


class Worker(asyncio.Protocol):
    """The HTTP process's end of a worker's socket. It asks for one thing at a time."""

    _transport: asyncio.Transport
    _reader: Reader
    _reply: asyncio.Future[Body] | None = None

    @property
    def alive(self) -> bool:
        """Whether the other end is open, for all we know."""
        return not self._transport.is_closing()

    async def ask(self, request: Sequence[Buffer], reader: Reader, patience_s: float) -> Body:
        """Send a request and return its reply. Raises `WorkerDied`, or `WorkerHung` if there is none in time."""
        loop = asyncio.get_running_loop()
        self._reader = reader
        self._reply = loop.create_future()
        self._transport.writelines(request)
        timer = loop.call_later(patience_s, self._give_up, patience_s)
        try:
            return await self._reply
        finally:
            timer.cancel()

    def _give_up(self, patience_s: float) -> None:
        if self._reply is not None and not self._reply.done():
            self._reply.set_exception(WorkerHung(f"a worker has hung for {patience_s:g} s and is replaced"))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Be ready to ask."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Read a part of a reply; give a whole one to the caller that waits for it, and a bad worker up."""
        if self._reply is None or self._reply.done():
            self.close()
            logger.error("a worker said something that it was not asked for, and is given up")
            return
        try:
            body = self._reader.add(data)
        except BadReply as exc:
            self.close()
            self._reply.set_exception(exc)
        else:
            if body is not None:
                self._reply.set_result(body)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the caller that waits that there will be no reply."""
        if self._reply is not None and not self._reply.done():
            self._reply.set_exception(WorkerDied("a worker ended in the middle of its work"))

    def close(self) -> None:
        """Let the worker end."""
        self._transport.close()


class Workers:
    """Workers that were forked from one template, idle or busy."""

    def __init__(self, settings: Settings) -> None:
        """Start the template."""
        self._control, theirs = socket.socketpair()
        command = [sys.executable, "-m", WORKER_MODULE, str(theirs.fileno())]
        with theirs:
            self._template = subprocess.Popen(command, pass_fds=[theirs.fileno()], env=_environment())
        self._idle: list[Worker] = []
        with suppress(OSError):
            handshake.send(self._control, _without_keys(settings))
        self._patience_s = settings.patience_s

    def models(self) -> tuple[Model, ...]:
        """Wait for the models to be loaded and tested, and return them. Raises what went wrong with that."""
        try:
            raised, answer = handshake.receive(self._control)
        except (EOFError, OSError) as exc:
            raise StartError(
                "the process that loads the model ended before it was done; was there too little memory?"
            ) from exc
        if raised:
            raise answer
        self._control.shutdown(socket.SHUT_RD)  # from now on the template is only told, and nothing is unpickled
        models = tuple(replace(model, engine=RemoteEngine(*facts)) for model, facts in answer)
        self._places = {model.variant: place for place, model in enumerate(models)}
        self._classes = [model.engine.classes for model in models]
        return models

    @property
    def fault(self) -> str | None:
        """Why no worker can be had any more; None if all is well."""
        return None if self._template.poll() is None else "the process that forks the workers ended"

    async def ask(self, request: Request) -> Any:
        """Have a worker do something; if it dies, a new one, since that may not have been the fault of this request.

        Raises `WorkerDied` if the new one dies too, `WorkerHung`, or what was raised in the worker.
        """
        try:
            return await self._ask(await self._free(), request)
        except WorkerHung:
            raise
        except WorkerDied:
            return await self._ask(await self._fork(), request)

    async def _free(self) -> Worker:
        while self._idle:
            if (worker := self._idle.pop()).alive:
                return worker
        return await self._fork()

    async def _ask(self, worker: Worker, request: Request) -> Any:
        places = [self._places[variant] for job in request.jobs for variant in job.variants]
        reader = Reader(request, [self._classes[place] for place in places])
        try:
            body = await worker.ask(requests.pack(request, places), reader, self._patience_s)
        except BaseException as exc:  # cancelled too: it would answer the next request with the reply to this one
            worker.close()
            if isinstance(exc, WorkerDied):
                logger.error("%s", exc)
            raise
        self._idle.append(worker)
        if isinstance(body, Exception):
            raise body
        return body

    async def _fork(self) -> Worker:
        ours, theirs = socket.socketpair()
        with theirs, suppress(OSError):  # without a template the worker's end is closed at once
            socket.send_fds(self._control, [b"f"], [theirs.fileno()])
        _, worker = await asyncio.get_running_loop().create_unix_connection(Worker, sock=ours)
        return worker

    async def close(self) -> None:
        """End all of them."""
        for worker in self._idle:
            worker.close()
        await asyncio.to_thread(self.end)

    def end(self) -> None:
        """End the template, and with it the workers."""
        self._control.close()
        try:
            self._template.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._template.kill()
            self._template.wait()


def _environment() -> dict[str, str]:
    """Return the environment of the template, which is given its settings otherwise and needs no keys."""
    return {name: value for name, value in os.environ.items() if not name.upper().startswith(PREFIX)} | SINGLE_THREADED


def _without_keys(settings: Settings) -> Settings:
    return settings.model_copy(update={"api_keys": (), "api_keys_file": None})


class RemoteEngine:
    """What is known here of an engine that the workers have."""

    def __init__(self, name: str, precision: Precision, classes: int) -> None:
        self.name, self.precision, self.classes = name, precision, classes

    def predict(self, images: Sequence[Pixels]) -> Probabilities:
        """Raise: it runs where its pipeline is."""
        raise NotImplementedError("the engine is in another process")


class Pool:
    """A pipeline in as many workers as run at once."""

    models: tuple[Model, ...]

    def __init__(self, settings: Settings) -> None:
        """Begin to load the models and to test them, elsewhere."""
        self.runs = settings.model_workers
        self._under_way = 0  # one alone has the threads of all, and is answered the sooner
        self._workers = Workers(settings)

    def ready(self) -> "Pool":
        """Wait until the models are loaded and tested. Raises `StartError` in one line, or `SelfTestFailed`."""
        try:
            self.models = self._workers.models()
        except BaseException:
            self._workers.end()
            raise
        return self

    @property
    def fault(self) -> str | None:
        """Why it will never run again; None if all is well."""
        return self._workers.fault

    async def run(self, jobs: Sequence[Job], large: bool = False) -> list[JobResult]:
        """Classify the images of a batch in a worker, as `Local.run` does. Raises `WorkerDied` too."""
        self._under_way += 1
        try:
            results: list[JobResult] = await self._workers.ask(Request(jobs, large, alone=self._under_way == 1))
        finally:
            self._under_way -= 1
        return results

    async def preview(self, payload: Payload, resolution: int) -> bytes:
        """Have a worker draw it, as `Local.preview` does. Raises `WorkerDied` too."""
        png: bytes = await self._workers.ask(Request([Job(payload, ())], resolution=resolution))
        return png

    async def close(self) -> None:
        """End the workers."""
        await self._workers.close()


def start_loading(settings: Settings) -> Callable[[], Pipeline]:
    """Begin to load and test what the settings name; return what waits until that is done.

    LiteRT does so in processes of its own, unless there shall be none; TensorFlow, which cannot fork, in this one. In
    this one nothing begins before somebody waits. The function returned raises `StartError` in one line, or
    `SelfTestFailed`.
    """
    if settings.engine == "tensorflow":
        return lambda: Threads(in_process(settings))
    if settings.model_workers == 0:
        return lambda: Inline(in_process(settings), settings.patience_s)
    return Pool(settings).ready
