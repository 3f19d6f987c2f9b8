"""Composition root: settings, model, routes and life cycle become one application."""

import asyncio
import logging
import os
import re
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from app import __version__, control, environment
from app.api import features, openapi, pages, problems, routes
from app.api.middleware.bodies import Bodies
from app.api.middleware.cookies import NoCookies
from app.api.middleware.cors import Cors
from app.api.middleware.head import Head
from app.api.middleware.prefix import Prefix
from app.api.predict import Predict
from app.api.security import Guard, SecurityHeaders
from app.config import Settings
from app.errors import BAD_START, StartError, first_line, install
from app.lifecycle import Lifecycle, Open
from app.logs import configure_logging
from app.observability.metrics import METRICS, Metrics
from app.observability.snapshots import Snapshots
from app.observability.trace import SPANS, Requests, Tracing
from app.oip import routes as oip
from app.oip.grpc import GRPC
from app.reload import Reloads
from app.runtime.loading import load_beside, start_loading
from app.runtime.pipeline import Pipeline
from app.runtime.pool import stop_loading

if TYPE_CHECKING:
    from app.observability.spans import Spans
    from app.oip.grpc.server import GrpcServer

logger = logging.getLogger(__name__)

FAILED = 1
"""Exit code of a process that ended because of a fault."""


def open_pipeline(settings: Settings) -> Pipeline:
    """Load and test what the settings name. Raises `StartError` in one line, or `SelfTestFailed`."""
    return start_loading(settings)()


def open_spans() -> "Spans | None":
    """Return what makes spans, or None where no variable of OpenTelemetry says where to send them."""
    if not environment.spans_wanted():
        return None
    try:
        from app.observability.spans import Spans
    except ImportError:
        logger.warning("%s is set, and there are no spans: %s", environment.OTLP_ENDPOINTS[0], install("otel"))
        return None
    try:
        return Spans.to_otlp()
    except ValueError as exc:
        logger.warning("a variable of OpenTelemetry is wrong, and there are no spans: %s", first_line(exc))
        return None


def end_process(fault: str) -> None:
    """End a process that cannot serve any more, so that whoever started it starts another."""
    logger.error("%s; this process ends, so that another can be started", fault)
    logging.shutdown()
    os._exit(FAILED)


@dataclass(frozen=True, slots=True)
class _Parts:
    """What the routes and the life of the application share."""

    settings: Settings
    metrics: Metrics
    requests: Requests
    guard: Guard
    lifecycle: Lifecycle


def create_app(
    settings: Settings | None = None,
    open_: Open = open_pipeline,
    open_spans: "Callable[[], Spans | None]" = open_spans,
    *,
    snapshots: Snapshots | None = None,
    on_fault: Callable[[str], None] | None = None,
    reopen: Open = load_beside,
    supervisor: socket.socket | None = None,
) -> FastAPI:
    """Compose the application. Without settings the environment is read; bad values end the process, a line each.

    `snapshots` are given to one of several processes. Its start-up then lasts until the model is loaded, as until then
    the other processes can take the connections. `on_fault` is called with a fault that only a restart helps with.
    `reopen` loads the models again for a reload, while the old ones serve. `supervisor` is the socket over which the
    supervisor of several processes says when; a process that is alone is told by SIGHUP or `mobilenet reload`.
    """
    settings = settings or settings_or_exit()
    metrics = Metrics(snapshots)
    guard = Guard(settings.api_keys)
    lifecycle = Lifecycle(settings, open_, reopen, metrics=metrics, guard=guard)
    parts = _Parts(settings, metrics, Requests(metrics), guard, lifecycle)
    app = FastAPI(
        title="MobileNet service",
        version=__version__,
        description=openapi.DESCRIPTION,
        openapi_tags=openapi.TAGS,
        lifespan=lambda _: _living(parts, open_spans, supervisor, on_fault, wait=snapshots is not None),
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # a redirection would lose the body, and behind a proxy the prefix
        # FastAPI's own would ask at every request whether it is on, and double the spans if it is.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    _add_routes(app, parts)
    app.middleware_stack = _layers(app, parts)
    return app


@asynccontextmanager
async def _living(
    parts: _Parts,
    open_spans: "Callable[[], Spans | None]",
    supervisor: socket.socket | None,
    on_fault: Callable[[str], None] | None,
    *,
    wait: bool,
) -> AsyncIterator[dict[str, object]]:
    """Start what the application runs, give what each request may ask for, and stop it all in order.

    With `wait` the start lasts until the model is loaded. Otherwise the probes and everything else answer meanwhile
    that the service is starting.
    """
    settings, metrics, lifecycle = parts.settings, parts.metrics, parts.lifecycle
    configure_logging(settings)
    spans = open_spans()
    starting = asyncio.create_task(lifecycle.start(spans))
    sharing = asyncio.create_task(metrics.keep_sharing())
    watching = asyncio.create_task(lifecycle.watch(on_fault)) if on_fault and settings.exit_on_fault else None
    if wait:
        await starting
    grpc = await _serve_grpc(parts, spans)
    async with _reloading(parts, supervisor):
        yield {SPANS: spans, METRICS: metrics, GRPC: grpc}
    if grpc:
        await grpc.stop()
    starting.cancel()
    await asyncio.to_thread(stop_loading)
    if watching:
        watching.cancel()
    await lifecycle.stop()
    sharing.cancel()
    metrics.share()
    if spans is not None:
        await asyncio.to_thread(spans.close)


def _add_routes(app: FastAPI, parts: _Parts) -> None:
    """Add everything but predictions, and their route for the document. The pages come last."""
    settings, guard, lifecycle = parts.settings, parts.guard, parts.lifecycle
    for router in (
        routes.create_router(settings, guard, lifecycle.classifier, lifecycle.alive, metrics=parts.metrics),
        features.create_router(settings, guard, lifecycle.classifier),
        oip.create_router(settings, guard, lifecycle.classifier, lifecycle.alive),
    ):
        # Not `include_router`, which looks through the routes of the router whenever a request comes.
        app.router.routes += router.routes
    _name_operations([route for route in app.routes if isinstance(route, APIRoute)])
    pages.install(app)
    _match_whole_paths(app.routes)
    problems.install(app)


def _layers(app: FastAPI, parts: _Parts) -> ASGIApp:
    """Return what a request goes through, predictions before the rest of the application."""
    settings = parts.settings
    predict: ASGIApp = Predict(settings, parts.guard, parts.lifecycle.classifier, parts.requests)
    if settings.cors_origins:
        predict = Cors(predict, settings.cors_origins)
        app.add_middleware(Cors, origins=settings.cors_origins)
    app.add_middleware(Head)
    app.add_middleware(SecurityHeaders)
    app.add_middleware(Tracing, requests=parts.requests)
    both = _in_front(predict, NoCookies(app.build_middleware_stack()))
    return Prefix(Bodies(both, settings.max_body_bytes), settings.root_path or "")


async def _serve_grpc(parts: _Parts, spans: "Spans | None") -> "GrpcServer | None":
    """Serve gRPC if there is a port for it. Ends the process, with one line, if that port is taken."""
    if parts.settings.grpc_port is None:
        return None
    from app.oip.grpc.server import GrpcServer

    lifecycle = parts.lifecycle
    server = GrpcServer(
        parts.settings, parts.guard, parts.requests, classifier=lifecycle.classifier, alive=lifecycle.alive, spans=spans
    )
    try:
        await server.start()
    except StartError as exc:
        logger.error("%s", exc)
        os._exit(BAD_START)  # uvicorn would turn an exception into a traceback and a code of its own
    return server


def _reloading(parts: _Parts, supervisor: socket.socket | None) -> AbstractAsyncContextManager[None]:
    """Reload when told to, by the supervisor if there is one, until the context ends."""
    reload = parts.lifecycle.reload
    if supervisor:
        return control.obeying(supervisor, reload)
    return control.heeding(Reloads(reload, parts.metrics.reloaded))


def _in_front(predict: ASGIApp, application: ASGIApp) -> ASGIApp:
    """Return what has predictions answered by the one, and everything else by the other."""

    async def route(scope: Scope, receive: Receive, send: Send) -> None:
        await (predict if Predict.answers(scope) else application)(scope, receive, send)

    return route


def _match_whole_paths(routes: list[BaseRoute]) -> None:
    """Have routes match no path with a line break at its end, which would pass the rules of a proxy on exact paths.

    The patterns of Starlette end in `$`, which matches before that line break, too.
    """
    for route in routes:
        if isinstance(route, Route | Mount):
            route.path_regex = re.compile(route.path_regex.pattern.removesuffix("$") + r"\Z", route.path_regex.flags)


def _name_operations(routes: list[APIRoute]) -> None:
    """Give operations the names of their functions, by which generated clients call them, unless they have a name."""
    for route in routes:
        if route.operation_id is None:
            route.operation_id = route.name.strip("_")


def settings_or_exit() -> Settings:
    """Read the environment. Bad values end the process with exit code 2, a line each."""
    try:
        return environment.load()
    except StartError as exc:
        print(exc.report, file=sys.stderr)
        raise SystemExit(BAD_START) from None


def __getattr__(name: str) -> FastAPI:
    """Compose `app`, for `uvicorn app.main:app`. Whoever composes an application of their own does without it."""
    if name != "app":
        raise AttributeError(name)
    return create_app(on_fault=end_process)
