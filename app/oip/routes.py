"""The routes of the Open Inference Protocol, version 2, which KServe, Triton and MLServer have too, without logic."""

import time
from collections.abc import Callable, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Header, Request, Response, Security

from app import __version__
from app.api import openapi, payload
from app.api.predict import TimeoutMs, timeout_or_default
from app.api.response import account
from app.api.security import Guard
from app.config import Settings
from app.errors import NotFound, ServiceError
from app.model.model import Model
from app.observability.trace import Trace, trace
from app.oip import schemas, tensors
from app.oip.schemas import (
    MODEL,
    AnswerParameters,
    InferenceResponse,
    Live,
    ModelMetadata,
    ModelReady,
    Ready,
    ServerMetadata,
    TensorMetadata,
)
from app.oip.tensors import Inference
from app.prediction.classifier import Classifier
from app.prediction.result import Classification
from app.prediction.selection import Single
from app.runtime.pipeline import NOTHING, Wish

TAGS: list[Any] = ["Open Inference Protocol"]
PATHS = ("/v2/models/{name}", "/v2/models/{name}/versions/{version}")
JSON_BYTES = "Inference-Header-Content-Length"

JsonBytes = Annotated[
    int | None,
    Header(alias=JSON_BYTES, ge=0, description="bytes of the JSON, where those of a tensor follow; else all is JSON"),
]


def create_router(
    settings: Settings, guard: Guard, classifier: Callable[[], Classifier], alive: Callable[[], None]
) -> APIRouter:
    """Make the routes; `classifier` and `alive` are those of `api.create_router`."""
    router = APIRouter()
    locked = [Security(guard)] if settings.api_keys else []
    _add_server(router, locked, classifier, alive)
    for path in PATHS:
        _add_model(router, path, locked, classifier, alive)
        _add_infer(router, path, locked, classifier, settings)
    return router


def _add_server(
    router: APIRouter, locked: Sequence[Any], classifier: Callable[[], Classifier], alive: Callable[[], None]
) -> None:
    @router.get(
        "/v2",
        operation_id="server_metadata",
        summary="Describe the server",
        tags=TAGS,
        dependencies=locked,
        responses=openapi.responses(*openapi.METRICS_ERRORS, path="/v2"),
    )
    async def server() -> ServerMetadata:
        """Name the server, its version, and the extensions of the protocol that it has."""
        return ServerMetadata(
            name="mobilenet-service", version=__version__, extensions=["binary_tensor_data", "classification"]
        )

    @router.get(
        "/v2/health/live",
        operation_id="server_live",
        summary="Is the process alive?",
        tags=TAGS,
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
        tags=TAGS,
        responses=openapi.responses(*openapi.STATE_ERRORS, path="/v2"),
    )
    async def ready() -> Ready:
        """Whether the service answers, as `/readyz` says."""
        alive()
        classifier()
        return Ready(ready=True)


def _add_model(
    router: APIRouter,
    path: str,
    locked: Sequence[Any],
    classifier: Callable[[], Classifier],
    alive: Callable[[], None],
) -> None:
    @router.get(
        path,
        operation_id=f"{_subject(path)}_metadata",
        summary="Describe the model",
        tags=TAGS,
        dependencies=locked,
        responses=openapi.responses(*openapi.LABELS_ERRORS, NotFound, path=path),
        openapi_extra=schemas.path_parameters(path),
    )
    async def metadata(request: Request) -> ModelMetadata:
        """Describe the tensors that the served model takes and gives; a request has one of the inputs."""
        current = classifier()
        return _metadata(_found(request, current), current)

    @router.get(
        f"{path}/ready",
        operation_id=f"{_subject(path)}_ready",
        summary="Is the model ready?",
        tags=TAGS,
        responses=openapi.responses(*openapi.STATE_ERRORS, NotFound, path=path),
        openapi_extra=schemas.path_parameters(path),
    )
    async def ready(request: Request) -> ModelReady:
        """Whether the model answers, as `/readyz` says."""
        alive()
        _found(request, classifier())
        return ModelReady(name=MODEL, ready=True)


def _add_infer(
    router: APIRouter,
    path: str,
    locked: Sequence[Any],
    classifier: Callable[[], Classifier],
    settings: Settings,
) -> None:
    @router.post(
        f"{path}/infer",
        operation_id=f"{_subject(path)}_infer",
        summary="Classify a tensor of images",
        tags=TAGS,
        dependencies=locked,
        response_model=InferenceResponse,
        responses=schemas.INFER_ANSWER | openapi.responses(*openapi.PREDICT_ERRORS, NotFound, path=path),
        openapi_extra=schemas.path_parameters(path) | schemas.INFER_BODY,
    )
    async def infer(request: Request, json_bytes: JsonBytes = None, timeout_ms: TimeoutMs = None) -> Response:
        """Classify image files or pixels. The images of a request are answered all, or not at all."""
        about = trace(request.scope)
        with classifier() as current:
            model = _found(request, current)
            about.facts["variant"] = model.variant.name
            deadline = time.monotonic() + timeout_or_default(timeout_ms, settings) / 1000
            plan = Single([model.variant])
            current.check_room(plan)  # before the body is read, which may be long
            body = await payload.read_any(request, settings, deadline)
            inference = tensors.read(body, json_bytes, model, settings.max_images)
            wish = Wish(embedding=True) if inference.embedding else NOTHING
            classifying = current.classify(inference.images, plan, deadline, about.span, wish)
            return _answer(model, inference, await payload.unless_departed(request.receive, classifying), about)


def _subject(path: str) -> str:
    """Return what the operations of a path are about, with which their names begin."""
    return "model_version" if "{version}" in path else "model"


def _found(request: Request, classifier: Classifier) -> Model:
    """Return the model that the path names; its versions are the loaded variants. Raises `NotFound`."""
    name, version = request.path_params["name"], request.path_params.get("version")
    if name != MODEL:
        raise NotFound(f"there is no model {name[:80]!r}; {MODEL} is served")
    if version is None:
        return classifier.model
    served = _versions(classifier)
    if version not in served:
        raise NotFound(f"there is no version {version[:80]!r} of {MODEL}; served: {', '.join(served)}")
    return served[version]


def _versions(classifier: Classifier) -> dict[str, Model]:
    """Return the loaded models by their version, the default first."""
    return {_version(model): model for model in classifier.models.values()}


def _version(model: Model) -> str:
    return f"{model.variant.alpha:g}@{model.variant.resolution}"


def _metadata(model: Model, classifier: Classifier) -> ModelMetadata:
    side = model.variant.resolution
    return ModelMetadata(
        name=MODEL,
        versions=list(_versions(classifier)),
        platform=model.engine.name,
        inputs=[
            TensorMetadata(name=tensors.IMAGE, datatype="BYTES", shape=[-1]),
            TensorMetadata(name=tensors.PIXELS, datatype="UINT8", shape=[-1, side, side, 3]),
        ],
        outputs=[
            TensorMetadata(name=name, datatype="FP32", shape=[-1, size])
            for name, size in tensors.outputs(model).items()
        ],
    )


def _answer(
    model: Model, inference: Inference, outcomes: Sequence[Classification | ServiceError], current: Trace
) -> Response:
    batch_size = account(outcomes, current)
    found = _all(outcomes)
    outputs = [tensors.answer(_rows(found, form.name), form, model.labels) for form in inference.wanted]
    answer = InferenceResponse(
        model_name=MODEL,
        model_version=_version(model),
        id=current.request_id if inference.id is None else inference.id,
        parameters=AnswerParameters(macs=model.cost.macs, batch_size=batch_size),
        outputs=[output for output, _ in outputs],
    )
    raw = b"".join(content for _, content in outputs)
    binary = any(form.binary for form in inference.wanted)
    return _response(answer.model_dump_json().encode(), raw if binary else None)


def _rows(found: Sequence[Classification], name: str) -> list[Any]:
    return [one.embedding if name == tensors.EMBEDDING else one.probabilities for one in found]


def _all(outcomes: Sequence[Classification | ServiceError]) -> list[Classification]:
    """Return the results of all images, or raise the first error: the protocol knows no errors of single images."""
    for index, outcome in enumerate(outcomes):
        if isinstance(outcome, ServiceError):
            detail = f"image {index} of {len(outcomes)}: {outcome.detail}" if len(outcomes) > 1 else outcome.detail
            raise type(outcome)(detail, outcome.headers, outcome.facts) from outcome
    return [outcome for outcome in outcomes if isinstance(outcome, Classification)]


def _response(text: bytes, raw: bytes | None) -> Response:
    if raw is None:
        return Response(text, media_type="application/json")
    return Response(text + raw, headers={JSON_BYTES: str(len(text))}, media_type="application/octet-stream")
