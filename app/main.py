"""Composition root: settings, model, routes and life cycle become one application."""

import asyncio
import logging
import multiprocessing
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from uvicorn.config import STARTUP_FAILURE

from app import __version__, api, config, golden, labels, openapi, pages
from app.classifier import Classifier, Model
from app.config import MODEL_WEIGHTS, Settings
from app.engines.compile import compiled
from app.engines.engine import Engine
from app.engines.manifest import verified
from app.engines.selftest import SelfTestFailed, self_test
from app.engines.weights import BUNDLED, Weights, locate
from app.errors import BAD_START, Draining, ServiceError, StartError, Starting, Unavailable
from app.labels import Labels
from app.metrics import Metrics
from app.mobilenet.architecture import IMAGENET_CLASSES
from app.security import SecurityHeaders
from app.telemetry import Tracing, configure_logging

logger = logging.getLogger(__name__)


def load_model(settings: Settings) -> Model:
    """Find, compile where needed, and load what the settings name. Raises `StartError` in one line."""
    weights = locate(settings)
    engine = _load_engine(weights, settings)
    return Model(
        engine=engine,
        variant=settings.variant,
        labels=_load_labels(weights, settings, engine.classes),
        weights=weights.name,
        weights_sha256=weights.sha256,
        published=weights.published,
    )


def _load_engine(weights: Weights, settings: Settings) -> Engine:
    # Imported here: each engine brings its own runtime, and a process holds one of them.
    if settings.engine == "tensorflow":
        try:
            from app.engines.tensorflow import TensorFlowEngine
        except ImportError as exc:
            raise StartError("MOBILENET_ENGINE=tensorflow: TensorFlow is not installed; install the extra") from exc
        return TensorFlowEngine(weights, settings.variant, settings.threads)
    from app.engines.litert import LiteRTEngine

    model = compiled(weights, settings.variant, settings.cache, settings.precision)
    return LiteRTEngine(model.path, settings.threads, settings.precision)


def _load_labels(weights: Weights, settings: Settings, classes: int) -> Labels:
    if settings.labels is not None:
        found = labels.load(settings.labels)
    elif weights.name == BUNDLED:
        found = labels.load(verified(MODEL_WEIGHTS / "imagenette.labels.txt"))
    elif classes == IMAGENET_CLASSES:
        found = labels.load(verified(MODEL_WEIGHTS / "imagenet.labels.txt"))
    else:
        raise StartError(f"{weights.name} has {classes} classes; set MOBILENET_LABELS to a file with their labels")
    if len(found) != classes:
        raise StartError(f"there are {len(found)} labels, and {weights.name} has {classes} classes")
    return found


class Service:
    """The life of the process: starting, ready or failed, draining."""

    def __init__(self, settings: Settings, load: Callable[[Settings], Model], metrics: Metrics) -> None:
        self._settings = settings
        self._load = load
        self._metrics = metrics
        self._classifier: Classifier | None = None
        self._unavailable: ServiceError = Starting("the model is loading", {"Retry-After": "1"})
        self._broken: str | None = None

    def classifier(self) -> Classifier:
        """Return the classifier. Raises `Starting` or `Draining` while there is none."""
        if self._classifier is None:
            raise self._unavailable
        return self._classifier

    def alive(self) -> None:
        """Raise `Unavailable` if only a restart helps."""
        if self._classifier is not None and self._classifier.fault is not None:
            raise Unavailable(self._classifier.fault)
        if self._broken is not None:
            raise Unavailable(self._broken)

    async def start(self) -> None:
        """Load the model and test it. Ends the process where the settings or files are wrong."""
        try:
            model = await asyncio.to_thread(self._load_and_test)
        except StartError as exc:
            logger.error("%s", exc)
            # The server would turn an exception into a traceback and a code of its own. Nothing is under way yet.
            os._exit(STARTUP_FAILURE if multiprocessing.parent_process() else BAD_START)
        except SelfTestFailed as exc:
            logger.error("%s", exc)
            self._unavailable = Starting(str(exc))
            return
        except Exception:
            logger.exception("the model could not be loaded")
            self._broken = "the model could not be loaded"
            return
        self._classifier = classifier = Classifier(model, self._settings, self._metrics.dropped)
        self._metrics.watch_queue(lambda: classifier.admitted)
        logger.info("ready: %s, %s, %s", model.weights, model.variant, model.engine.name)

    def _load_and_test(self) -> Model:
        model = self._load(self._settings)
        self_test(model.engine, model.variant.resolution, self._settings.max_batch_size)
        golden.check(model)
        return model

    async def stop(self) -> None:
        """Finish what was accepted."""
        stopping, self._classifier = self._classifier, None
        self._unavailable = Draining("the service is stopping", {"Retry-After": "1"})
        if stopping is not None:
            await stopping.drain()


def create_app(settings: Settings | None = None, load: Callable[[Settings], Model] = load_model) -> FastAPI:
    """Compose the application. Without settings the environment is read; a bad value ends the process in one line."""
    settings = settings or _settings_or_exit()
    metrics = Metrics()
    service = Service(settings, load, metrics)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        configure_logging(settings)
        # Not awaited: meanwhile the probes and everything else answer that the service is starting.
        starting = asyncio.create_task(service.start())
        if multiprocessing.parent_process():
            await starting  # one worker of several: until it is ready the connections are the others'
        yield
        starting.cancel()
        await service.stop()

    app = FastAPI(
        title="MobileNet service",
        version=__version__,
        description=openapi.DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    app.include_router(api.create_router(settings, service.classifier, service.alive, metrics))
    pages.install(app)
    api.install_handler(app)
    if settings.cors_origins:
        app.add_middleware(CORSMiddleware, allow_origins=settings.cors_origins, allow_methods=["GET", "POST"])
    app.add_middleware(SecurityHeaders)
    app.add_middleware(Tracing, metrics=metrics)
    return app


def _settings_or_exit() -> Settings:
    try:
        return config.load()
    except StartError as exc:
        print(f"mobilenet: {exc}", file=sys.stderr)
        raise SystemExit(BAD_START) from None


app = create_app()
