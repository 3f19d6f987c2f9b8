"""The HTTP routes of the Open Inference Protocol, version 2, which KServe, Triton and MLServer have too."""

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Header, Request, Response, Security
from fastapi.params import Depends

from app.api import openapi, payload
from app.api.predict import TimeoutMs, timeout_or_default
from app.api.security import Guard
from app.config import Settings
from app.errors import EmptyImage, MalformedRequest, NotFound
from app.model.model import Model
from app.observability.trace import trace
from app.oip import inference, models, schemas, tensors
from app.oip.schemas import MODEL, InferenceResponse, Live, ModelMetadata, ModelReady, Ready, ServerMetadata
from app.prediction.classifier import Classifier

PATHS = ("/v2/models/{name}", "/v2/models/{name}/versions/{version}")
JSON_BYTES = "Inference-Header-Content-Length"

JsonBytes = Annotated[
    int | None,
    Header(alias=JSON_BYTES, ge=0, description="bytes of the JSON, where those of a tensor follow; else all is JSON"),
]
Current = Callable[[], Classifier]
"""Returns the classifier. Raises `Starting` or `Draining` while there is none."""
Locks = list[Depends]
"""What a route that needs a key depends on; empty if the service has no keys."""


def create_router(settings: Settings, guard: Guard, classifier: Current, alive: Callable[[], None]) -> APIRouter:
    """Make the routes; `classifier` and `alive` are those of `api.create_router`."""
    router = APIRouter(tags=["Open Inference Protocol"])
    locked: Locks = [Security(guard)] if settings.api_keys else []
    _add_server(router, locked, classifier, alive)
    for path in PATHS:
        _add_model(router, path, locked, classifier, alive)
        _add_inference(router, path, locked, classifier, settings)
    return router


def _add_server(router: APIRouter, locked: Locks, classifier: Current, alive: Callable[[], None]) -> None:
    @router.get(
        "/v2",
        operation_id="server_metadata",
        summary="Describe the server",
        dependencies=locked,
        responses=openapi.responses(*openapi.METRICS_ERRORS, path="/v2"),
    )
    async def server() -> ServerMetadata:
        """Name the server, its version, and the extensions of the protocol that it has."""
        return models.server("binary_tensor_data", "classification")

    @router.get(
        "/v2/health/live",
        operation_id="server_live",
        summary="Is the process alive?",
        responses=openapi.responses(*openapi.ALIVE_ERRORS, path="/v2"),
    )
    async def live() -> Live:
        """Whether the process is alive, as `/healthz` says."""
        alive()
        return Live(live=True)

    @router.get(
        "/v2/health/ready",
        operation_id="server_ready",
        summary="Is the service ready?",
        responses=openapi.responses(*openapi.STATE_ERRORS, path="/v2"),
    )
    async def ready() -> Ready:
        """Whether the service answers, as `/readyz` says."""
        alive()
        classifier()
        return Ready(ready=True)


def _add_model(router: APIRouter, path: str, locked: Locks, classifier: Current, alive: Callable[[], None]) -> None:
    subject = _subject(path)

    @router.get(
        path,
        operation_id=f"{subject}_metadata",
        summary="Describe the model",
        dependencies=locked,
        responses=openapi.responses(*openapi.LABELS_ERRORS, NotFound, path=path),
        openapi_extra=schemas.path_parameters(path),
    )
    async def metadata(request: Request) -> ModelMetadata:
        """Describe the tensors that the served model takes and gives; a request has one of the inputs."""
        current = classifier()
        return models.describe(_found(request, current), current)

    @router.get(
        f"{path}/ready",
        operation_id=f"{subject}_ready",
        summary="Is the model ready?",
        responses=openapi.responses(*openapi.STATE_ERRORS, NotFound, path=path),
        openapi_extra=schemas.path_parameters(path),
    )
    async def model_ready(request: Request) -> ModelReady:
        """Whether the model answers, as `/readyz` says."""
        alive()
        _found(request, classifier())
        return ModelReady(name=MODEL, ready=True)


def _add_inference(router: APIRouter, path: str, locked: Locks, classifier: Current, settings: Settings) -> None:
    @router.post(
        f"{path}/infer",
        operation_id=f"{_subject(path)}_infer",
        summary="Classify a tensor of images",
        dependencies=locked,
        response_model=InferenceResponse,
        responses=schemas.INFER_ANSWER | openapi.responses(*schemas.INFER_ERRORS, path=path),
        openapi_extra=schemas.path_parameters(path) | schemas.INFER_BODY,
    )
    async def infer(request: Request, json_bytes: JsonBytes = None, timeout_ms: TimeoutMs = None) -> Response:
        """Classify image files or pixels. The images of a request are answered all, or not at all."""
        about = trace(request.scope)
        with classifier() as current:
            model = _found(request, current)
            inference.admit(model, current, about)
            deadline = about.started + timeout_or_default(timeout_ms, settings) / 1000
            body = await _body(request, settings, deadline)
            wanted = tensors.read(body, json_bytes, model, settings.max_images)
            classifying = inference.classify(wanted, model, current, deadline, about)
            outcomes = await payload.unless_departed(request.receive, classifying)
            said, raw = inference.answer(wanted, model, outcomes, about)
            binary = any(form.binary for form in wanted.wanted)
            return _response(said.model_dump_json().encode(), b"".join(raw) if binary else None)


def _subject(path: str) -> str:
    """Return what the names of the operations of a path begin with."""
    return "model_version" if "{version}" in path else "model"


async def _body(request: Request, settings: Settings, deadline: float) -> bytes:
    try:
        return await payload.read_any(request, settings, deadline)
    except EmptyImage:
        raise MalformedRequest("the body is empty; send the JSON of an inference request") from None


def _found(request: Request, classifier: Classifier) -> Model:
    """Return the model that the path names. Raises `NotFound`."""
    return models.find(request.path_params["name"], request.path_params.get("version"), classifier)


def _response(text: bytes, raw: bytes | None) -> Response:
    if raw is None:
        return Response(text, media_type="application/json")
    return Response(text + raw, headers={JSON_BYTES: str(len(text))}, media_type="application/octet-stream")
