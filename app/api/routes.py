"""The routes, and the one handler that turns every error into a problem. No logic."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, FastAPI, Header, Query, Request, Response, Security
from fastapi.exceptions import RequestValidationError
from fastapi.responses import PlainTextResponse
from pydantic_core import to_json
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from app.api import describe, openapi, payload
from app.api.response import answer
from app.api.security import Guard
from app.config import Settings
from app.errors import (
    InternalError,
    InvalidParameter,
    MalformedRequest,
    MethodNotAllowed,
    NotFound,
    ServiceError,
)
from app.mobilenet.variants import RESOLUTIONS
from app.model.model import Model
from app.observability.metrics import CONTENT_TYPE, Metrics
from app.observability.trace import trace
from app.prediction.classifier import Classifier, Previewer
from app.prediction.selection import Alpha, Plan, Resolution, Single, TopK, Wish, resolve, wished
from app.schemas import Catalogue, Health, LabelItem, ModelInfo, PredictResponse

DEFAULT_TOP_K = 5
PLAIN = Wish()
"""Nothing wished for: the default variant answers."""
CLIENT_CLOSED_REQUEST = 499  # for the log alone: nobody is left to read it

WithLayers = Annotated[bool, Query(description="add the tables of layers, of separable convolutions and of ablations")]

TimeoutMs = Annotated[
    int | None,
    Header(
        alias="X-Request-Timeout-Ms",
        description="deadline of this request in milliseconds, at most MOBILENET_REQUEST_TIMEOUT_MS",
        examples=[500],
    ),
]

T = TypeVar("T")

Side = Annotated[
    int | None,
    Query(description="128, 160, 192, 224 or that of a loaded variant; default: the served one", examples=[128]),
]


class Png(Response):
    """An image."""

    media_type = "image/png"


def create_router(
    settings: Settings,
    classifier: Callable[[], Classifier],
    alive: Callable[[], None],
    metrics: Metrics,
    previewer: Previewer,
) -> APIRouter:
    """Make the routes.

    `classifier` returns the classifier once it is ready, or raises why it is not; `alive` raises if the process
    should be restarted.
    """
    router = APIRouter()
    locked = [Security(Guard(settings.api_keys))] if settings.api_keys else []

    @router.post(
        "/predict",
        summary="Classify images",
        tags=["classification"],
        response_model=PredictResponse,
        dependencies=locked,
        responses=openapi.responses(*openapi.PREDICT_ERRORS),
        openapi_extra=openapi.PREDICT_BODY,
    )
    async def predict(
        request: Request, wish: Annotated[Wish, Depends(wished)], k: TopK = None, timeout_ms: TimeoutMs = None
    ) -> Response:
        """Classify one image or several, each with its own result or its own error, in order.

        A request with a single image that fails answers the error itself. Of the ways to choose a variant, `alpha` with
        `resolution`, a budget, `variants` and `cascade`, one is allowed.
        """
        current = classifier()
        about = trace(request.scope)
        about.facts["variant"] = current.model.variant.name
        k = top_k_or_default(k, current.model)
        deadline = time.monotonic() + timeout_or_default(timeout_ms, settings) / 1000
        plan = plan_of(wish, current, settings)
        current.check_room(plan)  # before the body is read, which may be long
        payloads = await payload.read(request, settings, deadline)
        outcomes = await unless_departed(request, current.classify(payloads, plan, deadline, about.span))
        if len(outcomes) == 1 and isinstance(outcomes[0], ServiceError):
            raise outcomes[0]
        return Response(to_json(answer(current, plan, outcomes, k, about)), media_type="application/json")

    @router.get(
        "/model-info",
        summary="Describe the served model or another variant",
        tags=["model"],
        dependencies=locked,
        responses=openapi.responses(*openapi.INFO_ERRORS),
    )
    async def model_info_(alpha: Alpha = None, resolution: Resolution = None, layers: WithLayers = False) -> ModelInfo:
        """Describe the served model, or any other variant: cost, accuracy, preprocessing, limits."""
        current = classifier()
        variant = resolve(alpha, resolution, current.model.variant)
        return describe.model_info(list(current.models.values()), variant, settings, layers=layers)

    @router.get(
        "/labels",
        summary="List the classes",
        tags=["model"],
        dependencies=locked,
        responses=openapi.responses(*openapi.LABELS_ERRORS),
    )
    async def labels() -> list[LabelItem]:
        """List the classes that the served model knows."""
        return [LabelItem.model_validate(label, from_attributes=True) for label in classifier().model.labels]

    @router.get(
        "/healthz", summary="Is the process alive?", tags=["probes"], responses=openapi.responses(*openapi.ALIVE_ERRORS)
    )
    async def healthz() -> Health:
        """Whether the process is alive; if not, restart it."""
        alive()
        return Health(status="alive")

    @router.get(
        "/readyz", summary="Is the service ready?", tags=["probes"], responses=openapi.responses(*openapi.STATE_ERRORS)
    )
    async def readyz() -> Health:
        """Whether the service answers predictions: the model is loaded and its self-test passed."""
        alive()
        classifier()
        return Health(status="ready")

    @router.get(
        "/metrics",
        summary="Metrics for Prometheus",
        tags=["probes"],
        dependencies=[] if settings.open_metrics else locked,
        response_class=PlainTextResponse,
        responses=openapi.responses(*openapi.METRICS_ERRORS),
    )
    async def metrics_() -> Response:
        """Counters, durations and what is under way, in the text format of Prometheus."""
        return Response(metrics.render(), media_type=CONTENT_TYPE)

    @router.get(
        "/variants",
        summary="SideBySide the variants",
        tags=["model"],
        dependencies=locked,
        responses=openapi.responses(*openapi.LABELS_ERRORS),
    )
    async def variants() -> Catalogue:
        """List the sixteen variants: cost, accuracy, latency here if measured, which are worth it, which are served."""
        return describe.variants(list(classifier().models.values()), settings)

    @router.post(
        "/preview",
        summary="See what the network sees",
        tags=["classification"],
        dependencies=locked,
        response_class=Png,
        responses=openapi.PREVIEW_ANSWER | openapi.responses(*openapi.PREVIEW_ERRORS),
        openapi_extra=openapi.PREVIEW_BODY,
    )
    async def preview(request: Request, resolution: Side = None) -> Png:
        """Answer the network's input for an image: upright, its central square, at the served resolution or another."""
        current = classifier()
        side = _side(current, resolution)
        deadline = time.monotonic() + settings.request_timeout_ms / 1000
        previewer.check_room()  # before the body is read, which may be long
        content = await payload.read_raw(request, settings, deadline)
        answer = await unless_departed(
            request, previewer.preview(partial(current.preview, resolution=side), content, deadline)
        )
        trace(request.scope).stages["decode"] = answer.run_ms
        return Png(answer.result)

    return router


def timeout_or_default(wanted: int | None, settings: Settings) -> int:
    """Return the milliseconds that a request has. Raises `InvalidParameter` if it wants more than there are."""
    if wanted is not None and not 1 <= wanted <= settings.request_timeout_ms:
        raise InvalidParameter(f"X-Request-Timeout-Ms {wanted} is not between 1 and {settings.request_timeout_ms}")
    return wanted or settings.request_timeout_ms


def plan_of(wish: Wish, classifier: Classifier, settings: Settings) -> Plan:
    """Return what is done for a wish now; raises as `Wish.plan` does."""
    plain = wish == PLAIN and not settings.degrade
    return Single() if plain else wish.plan(classifier.candidates(), settings.degrade)


def top_k_or_default(k: int | None, model: Model) -> int:
    """Return how many classes are answered. Raises `InvalidParameter` if that is more than there are."""
    classes = model.engine.classes
    if k is not None and not 1 <= k <= classes:
        raise InvalidParameter(f"top_k {k} is not between 1 and {classes}, the number of classes")
    return k or min(DEFAULT_TOP_K, classes)


async def unless_departed(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Await the work, and cancel it when the client disconnects: nobody would read its result."""
    task = asyncio.ensure_future(work)
    departure = asyncio.ensure_future(_departure(request))
    try:
        await asyncio.wait((task, departure), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
        return task.result()
    finally:
        task.cancel()
        departure.cancel()


async def _departure(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def install_handler(app: FastAPI) -> None:
    """Answer every error as a problem: ours, the framework's, and bugs."""
    for kind in (ServiceError, HTTPException, RequestValidationError, ClientDisconnect, Exception):
        app.add_exception_handler(kind, _handle)


async def _handle(request: Request, exc: Exception) -> Response:
    if isinstance(exc, ClientDisconnect):
        return Response(status_code=CLIENT_CLOSED_REQUEST)
    error = _translate(request, exc)
    current = trace(request.scope)
    current.facts["code"] = error.code
    content = openapi.problem(error, current.request_id, request.scope["path"]).model_dump_json()
    # The trace's headers too: the answer to a bug is made outside of the middleware that adds them.
    headers = error.headers | current.headers
    return Response(content, error.status, headers, media_type=openapi.PROBLEM_TYPE)


def _translate(request: Request, exc: Exception) -> ServiceError:
    if isinstance(exc, ServiceError):
        return exc
    if isinstance(exc, RequestValidationError):
        return payload.invalid(exc.errors()[0])
    if not isinstance(exc, HTTPException):
        return InternalError("the request failed for a reason that is ours")
    if exc.status_code == MethodNotAllowed.status:
        allowed = (exc.headers or {}).get("Allow", "another method")
        return MethodNotAllowed(f"{request.method} is not allowed on {request.url.path}; {allowed} is", exc.headers)
    if exc.status_code == NotFound.status:
        return NotFound(f"there is nothing at {request.url.path}; /docs lists what there is")
    return MalformedRequest(str(exc.detail))


def _side(current: Classifier, wanted: int | None) -> int:
    """Return the resolution to draw at: of the variants of the paper, or of a loaded one. Raises `InvalidParameter`."""
    side = current.model.variant.resolution if wanted is None else wanted
    allowed = sorted({*RESOLUTIONS, *(variant.resolution for variant in current.models)})
    if side not in allowed:
        raise InvalidParameter(f"resolution: {side} is none of {', '.join(map(str, allowed))}")
    return side
