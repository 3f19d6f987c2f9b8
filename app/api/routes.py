"""The routes below `/`, without logic: what they answer with is made elsewhere."""

from collections.abc import Callable
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response, Security
from fastapi.responses import PlainTextResponse

from app.api import describe, openapi, payload
from app.api.parameters import check_parameters
from app.api.predict import PredictQuery, TimeoutMs, timeout_or_default
from app.api.security import Guard
from app.config import Settings
from app.errors import InvalidParameter
from app.mobilenet.variants import RESOLUTIONS
from app.observability.metrics import CONTENT_TYPE, Metrics
from app.observability.trace import trace
from app.prediction.classifier import Classifier, Previewer
from app.prediction.selection import Alpha, Resolution, resolve
from app.schemas import Catalogue, Health, LabelItem, ModelInfo, PredictResponse

WithLayers = Annotated[bool, Query(description="add the tables of layers, of separable convolutions and of ablations")]

Side = Annotated[
    int | None,
    Query(description="128, 160, 192, 224 or that of a loaded variant; default: the served one", examples=[128]),
]


def create_router(
    settings: Settings,
    guard: Guard,
    classifier: Callable[[], Classifier],
    alive: Callable[[], None],
    *,
    metrics: Metrics,
    previewer: Previewer,
) -> APIRouter:
    """Make the routes.

    `classifier` returns the classifier once it is ready, or raises why it is not; `alive` raises if the process
    should be restarted.
    """
    router = APIRouter()
    locked = [Security(guard)] if settings.api_keys else []

    @router.post(
        "/predict",
        summary="Classify images",
        tags=["classification"],
        response_model=PredictResponse,
        dependencies=locked,
        responses=openapi.responses(*openapi.PREDICT_ERRORS),
        openapi_extra=openapi.PREDICT_BODY,
    )
    async def predict(query: Annotated[PredictQuery, Query()], timeout_ms: TimeoutMs = None) -> Response:
        """Classify one image or several, each with its own result or its own error, in order.

        A request with a single image that fails answers the error itself. Of the ways to choose a variant, `alpha` with
        `resolution`, a budget, `variants` and `cascade`, one is allowed.
        """
        raise NotImplementedError("`api.predict` answers before the application is asked; this is for the document")

    @router.get(
        "/model-info",
        summary="Describe the served model or another variant",
        tags=["model"],
        dependencies=[*locked, Depends(check_parameters)],
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
        summary="Compare the variants",
        tags=["model"],
        dependencies=locked,
        responses=openapi.responses(*openapi.LABELS_ERRORS),
    )
    async def variants() -> Catalogue:
        """List the 16 standard variants and any other that is loaded, with cost, accuracy and measured latency."""
        return describe.variants(list(classifier().models.values()), settings)

    @router.post(
        "/preview",
        summary="See what the network sees",
        tags=["classification"],
        dependencies=[*locked, Depends(check_parameters)],
        response_class=Response,
        responses=openapi.PREVIEW_ANSWER | openapi.responses(*openapi.PREVIEW_ERRORS),
        openapi_extra=openapi.PREVIEW_BODY,
    )
    async def preview(request: Request, resolution: Side = None, timeout_ms: TimeoutMs = None) -> Response:
        """Return what the network sees of an image, as a PNG: upright, its central square, at the served resolution."""
        about = trace(request.scope)
        with classifier() as current:
            side = _side(current, resolution)
            deadline = about.started + timeout_or_default(timeout_ms, settings) / 1000
            previewer.check_room()  # before the body is read, which may be long
            content = await payload.read_raw(request, settings, deadline)
            answer = await payload.unless_departed(
                request.receive, previewer.preview(partial(current.preview, content, side), deadline)
            )
        about.stages["decode"] = answer.run_ms
        return Response(answer.result, media_type="image/png")

    return router


def _side(current: Classifier, wanted: int | None) -> int:
    """Return the resolution to draw at: of the variants of the paper, or of a loaded one. Raises `InvalidParameter`."""
    side = current.model.variant.resolution if wanted is None else wanted
    allowed = sorted({*RESOLUTIONS, *(variant.resolution for variant in current.models)})
    if side not in allowed:
        raise InvalidParameter(f"resolution: {side} is none of {', '.join(map(str, allowed))}")
    return side
