"""The life of the process: starting, ready or failed, with new models in place of the old, draining."""

import asyncio
import logging
import os
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from app.api import response
from app.api.security import Guard
from app.config import Settings
from app.environment import read_keys
from app.errors import BAD_START, Draining, ServiceError, StartError, Starting, Unavailable
from app.machine import no_room
from app.model.selftest import SelfTestFailed
from app.observability.metrics import Metrics
from app.prediction.classifier import Classifier
from app.prediction.run import Run
from app.reload import Outcome
from app.runtime.pipeline import Pipeline
from app.runtime.thread import in_thread

if TYPE_CHECKING:
    from app.observability.spans import Spans

logger = logging.getLogger(__name__)

Open = Callable[[Settings], Pipeline]
"""Loads and tests what the settings name. Raises `StartError` in one line, or `SelfTestFailed`."""

WATCH_S = 0.5
"""How often a service that serves looks for a fault in itself."""
FAULT_S = 2.0
"""How long a fault lasts before the process ends."""


class Lifecycle:
    """The life of the process: starting, ready or failed, draining."""

    def __init__(self, settings: Settings, open_: Open, reopen: Open, *, metrics: Metrics, guard: Guard) -> None:
        """`open_` is called at the start and `reopen` for a reload, each on a thread."""
        self._settings = settings
        self._open = open_
        self._reopen = reopen
        self._metrics = metrics
        self._guard = guard
        self._started = asyncio.Event()
        self._on_run: list[Callable[[Run], None]] = [metrics.images.ran]
        self._retiring: asyncio.Task[None] | None = None
        self._classifier: Classifier | None = None
        self._unavailable: ServiceError = Starting("the model is loading", {"Retry-After": "1"})
        self._broken: str | None = None

    def classifier(self) -> Classifier:
        """Return the classifier. Raises `Starting` or `Draining` while there is none."""
        if self._classifier is None:
            raise self._unavailable
        return self._classifier

    @property
    def fault(self) -> str | None:
        """Why only a restart helps; None if all is well."""
        of_classifier = None if self._classifier is None else self._classifier.fault
        return of_classifier or self._broken

    def alive(self) -> None:
        """Raise `Unavailable` if only a restart helps."""
        if self.fault is not None:
            raise Unavailable(self.fault)

    async def watch(self, end: Callable[[str], None]) -> None:
        """Call `end` with the fault once one has lasted for some seconds, in which the probes can tell of it."""
        lasted_s = 0.0
        while lasted_s < FAULT_S:
            await asyncio.sleep(WATCH_S)
            lasted_s = lasted_s + WATCH_S if self.fault else 0.0
        end(self.fault or "it failed")

    async def start(self, spans: "Spans | None") -> None:
        """Load the model and test it. Ends the process where the settings or files are wrong."""
        if spans:
            self._on_run.append(spans.ran)
        try:
            await self._load()
        finally:
            self._started.set()

    async def _load(self) -> None:
        try:
            pipeline = await self._opened()
        except StartError as exc:
            logger.error("%s", exc)
            # The server would turn an exception into a traceback and a code of its own. Nothing is under way yet.
            os._exit(BAD_START)
        except SelfTestFailed as exc:
            logger.error("%s", exc)
            self._unavailable = Starting(str(exc))
            return
        except Exception:
            logger.exception("the model could not be loaded")
            self._broken = "the model could not be loaded"
            return
        model = pipeline.models[0]
        variants = ", ".join(str(one.variant) for one in pipeline.models)
        self._serve(pipeline)
        logger.info("ready: %s, %s, %s", model.weights, variants, model.engine.name)

    def _opened(self) -> asyncio.Future[Pipeline]:
        """Begin to load the models, on a thread that the loop keeps: for the stop there may be no room for another."""
        try:
            return asyncio.get_running_loop().run_in_executor(None, self._open, self._settings)
        except RuntimeError as exc:
            raise StartError(f"the thread that loads the model cannot be started: {no_room(exc)}") from exc

    def _serve(self, pipeline: Pipeline) -> None:
        """Have every request from now on answered by this pipeline."""
        self._classifier = Classifier(pipeline, self._settings, self._metrics.images, self._on_run)
        self._metrics.serves(pipeline.models)

    async def reload(self) -> Outcome:
        """Load and test what the settings name now; if all of it is right, serve it, else leave everything as it is.

        The old models answer the requests that they have, and then go. There are never three at the same time.
        """
        await self._started.wait()
        await self._retired()
        try:
            keys = read_keys(self._settings)
            pipeline = await in_thread(partial(self._reopen, self._settings))
        except (StartError, SelfTestFailed) as exc:
            return Outcome(False, "; ".join(str(exc).splitlines()))
        except Exception:
            logger.exception("the model could not be loaded")
            return Outcome(False, "the model could not be loaded")
        self._guard.renew(keys)
        old = self._classifier
        self._serve(pipeline)
        self._broken = None
        if old is not None:
            self._retiring = asyncio.create_task(_retire(old))
        return Outcome(True, _described(pipeline))

    async def _retired(self) -> None:
        if self._retiring is not None:
            await asyncio.wait([self._retiring])  # it goes on if whoever waits is cancelled

    async def stop(self) -> None:
        """Finish what was accepted."""
        await self._retired()
        stopping, self._classifier = self._classifier, None
        self._unavailable = Draining("the service is stopping", {"Retry-After": "1"})
        if stopping is not None:
            await stopping.drain()


async def _retire(old: Classifier) -> None:
    await old.retire()
    response.forget_models()


def _described(pipeline: Pipeline) -> str:
    """Say which models serve, and by which of their weights they can be told from others of the same name."""
    return "; ".join(f"{one.weights}, {one.variant}, SHA-256 {one.weights_sha256}" for one in pipeline.models)
