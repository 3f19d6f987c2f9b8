"""The routes below `/`, without logic: what they answer with is made elsewhere."""

from collections.abc import Callable
from typing import Annotated, NamedTuple

from fastapi import APIRouter, Depends, Query, Request, Response, Security, params
from fastapi.responses import PlainTextResponse

from app.api import catalogue, describe, openapi, payload
from app.api.parameters import check_parameters, unknown_parameter
from app.api.predict import PredictQuery, TimeoutMs, timeout_or_default
from app.api.security import Guard
from app.config import Settings
from app.errors import InvalidParameter
from app.mobilenet.variants import RESOLUTIONS
from app.observability.metrics import CONTENT_TYPE, Metrics
from app.observability.trace import trace
from app.prediction.classifier import Classifier
from app.prediction.selection import Alpha, Resolution, resolve
from app.schemas import Catalogue, Health, LabelItem, ModelInfo, PredictResponse

WithLayers = Annotated[bool, Query(description="add the tables of layers, of separable convolutions and of ablations")]

Side = Annotated[
    int | None,
    Query(
        description="128, 160, 192, 224 or that of a loaded variant; default: that of the default variant",
        examples=[128],
    ),
]


def create_router(
    settings: Settings,
    guard: Guard,
    classifier: Callable[[], Classifier],
    alive: Callable[[], None],
    *,
    metrics: Metrics,
) -> APIRouter:
    """Make the routes.

    `classifier` returns the classifier once it is ready, or raises why it is not; `alive` raises if the process
    should be restarted.
    """
    answers = Answers(settings, classifier, alive, metrics)
    locked = [Security(guard)] if settings.api_keys else []
    router = APIRouter()
    router.routes += _classification(answers, locked).routes
    router.routes += _model(answers, locked).routes
    router.routes += _probes(answers, [] if settings.open_metrics else locked).routes
    return router


def _classification(answers: "Answers", locked: list[params.Depends]) -> APIRouter:
    router = APIRouter(tags=["classification"], dependencies=[*locked, Depends(check_parameters)])
    router.post(
        "/predict",
        summary="Classify images",
        response_model=PredictResponse,
        responses=openapi.responses(*openapi.PREDICT_ERRORS),
        openapi_extra=openapi.PREDICT_BODY,
    )(answers.predict)
    router.post(
        "/preview",
        summary="See what the network sees",
        response_class=Response,
        responses=openapi.PREVIEW_ANSWER | openapi.responses(*openapi.PREVIEW_ERRORS),
        openapi_extra=openapi.PREVIEW_BODY,
    )(answers.preview)
    return router


def _model(answers: "Answers", locked: list[params.Depends]) -> APIRouter:
    router = APIRouter(tags=["model"], dependencies=[*locked, Depends(check_parameters)])
    router.get(
        "/model-info",
        summary="Describe the served model or another variant",
        responses=openapi.responses(*openapi.LABELS_ERRORS, unknown_parameter("layer", ["layers"])),
    )(answers.model_info)
    errors = openapi.responses(*openapi.LABELS_ERRORS, unknown_parameter("alpha", []))
    router.get("/labels", summary="List the classes", responses=errors)(answers.labels)
    router.get("/variants", summary="Compare the variants", responses=errors)(answers.variants)
    return router


def _probes(answers: "Answers", locked: list[params.Depends]) -> APIRouter:
    router = APIRouter(tags=["probes"])
    router.get("/healthz", summary="Is the process alive?", responses=openapi.responses(*openapi.ALIVE_ERRORS))(
        answers.healthz
    )
    router.get("/readyz", summary="Is the service ready?", responses=openapi.responses(*openapi.STATE_ERRORS))(
        answers.readyz
    )
    router.get(
        "/metrics",
        summary="Metrics for Prometheus",
        dependencies=locked,
        response_class=PlainTextResponse,
        responses=openapi.responses(*openapi.METRICS_ERRORS),
    )(answers.metrics_)
    return router


class Answers(NamedTuple):
    """What the routes answer, and what the answers are made with; the fields are arguments of `create_router`."""

    settings: Settings
    classifier: Callable[[], Classifier]
    alive: Callable[[], None]
    metrics: Metrics

    async def predict(self, query: Annotated[PredictQuery, Query()], timeout_ms: TimeoutMs = None) -> Response:
        """Classify one image or several, each with its own result or its own error, in order.

        A request with a single image that fails answers the error itself. Of the ways to choose a variant, `alpha` with
        `resolution`, a budget, `variants` and `cascade`, one is allowed.
        """
        raise NotImplementedError("`api.predict` answers before the application is asked; this is for the document")

    async def preview(self, request: Request, resolution: Side = None, timeout_ms: TimeoutMs = None) -> Response:
        """Return what the network sees of an image, as a PNG: upright, its central square.

        The PNG has the resolution that is asked for, or else that of the default variant.
        """
        about = trace(request.scope)
        with self.classifier() as current:
            side = _side(current, resolution)
            deadline = about.started + timeout_or_default(timeout_ms, self.settings) / 1000
            current.check_room_for_preview()  # before the body is read, which may be long
            content = await payload.read_raw(request, self.settings, deadline)
            draw = current.preview(content, side, deadline=deadline)
            drawn = await payload.unless_departed(request.receive, draw)
        about.stages["decode"] = drawn.run_ms
        return Response(drawn.result, media_type="image/png")

    async def model_info(
        self, alpha: Alpha = None, resolution: Resolution = None, layers: WithLayers = False
    ) -> ModelInfo:
        """Describe the served model, or any other variant: cost, accuracy, preprocessing, limits."""
        current = self.classifier()
        variant = resolve(alpha, resolution, current.model.variant)
        return describe.model_info(list(current.models.values()), variant, self.settings, layers=layers)

    async def labels(self) -> list[LabelItem]:
        """List the classes that the served model knows."""
        return [LabelItem.model_validate(label, from_attributes=True) for label in self.classifier().model.labels]

    async def variants(self) -> Catalogue:
        """List the 16 standard variants and any other that is loaded, with cost, accuracy and measured latency."""
        return catalogue.variants(list(self.classifier().models.values()), self.settings)

    async def healthz(self) -> Health:
        """Whether the process is alive; if not, restart it."""
        self.alive()
        return Health(status="alive")

    async def readyz(self) -> Health:
        """Whether the service answers predictions: the model is loaded and its self-test passed."""
        self.alive()
        self.classifier()
        return Health(status="ready")

    async def metrics_(self) -> Response:
        """Counters, durations and what is under way, in the text format of Prometheus."""
        return Response(self.metrics.render(), media_type=CONTENT_TYPE)


def _side(current: Classifier, wanted: int | None) -> int:
    """Return the resolution to draw at: of the variants of the paper, or of a loaded one. Raises `InvalidParameter`."""
    side = current.model.variant.resolution if wanted is None else wanted
    allowed = sorted({*RESOLUTIONS, *(variant.resolution for variant in current.models)})
    if side not in allowed:
        raise InvalidParameter(f"resolution: {side} is none of {', '.join(map(str, allowed))}")
    return side
