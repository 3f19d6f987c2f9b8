"""The routes beside the classification: the variants to choose from, and what the network sees. No logic."""

import time
from collections.abc import Callable
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response, Security

from app import catalogue, openapi, payload
from app.api import unless_departed
from app.classifier import Classifier
from app.config import Settings
from app.errors import InvalidParameter
from app.mobilenet.variants import RESOLUTIONS
from app.preview import Previewer
from app.schemas import Catalogue
from app.security import Guard
from app.telemetry import trace

Side = Annotated[
    int | None,
    Query(description="128, 160, 192, 224 or that of a loaded variant; default: the served one", examples=[128]),
]


class Png(Response):
    """An image."""

    media_type = "image/png"


def create_router(settings: Settings, classifier: Callable[[], Classifier], previewer: Previewer) -> APIRouter:
    """Make the routes; `classifier` returns the classifier once it is ready, or raises why it is not."""
    router = APIRouter(dependencies=[Security(Guard(settings.api_keys))] if settings.api_keys else [])

    @router.get(
        "/variants",
        summary="Compare the variants",
        tags=["model"],
        responses=openapi.responses(*openapi.LABELS_ERRORS),
    )
    async def variants() -> Catalogue:
        """List the sixteen variants: cost, accuracy, latency here if measured, which are worth it, which are served."""
        return catalogue.describe(list(classifier().models.values()), settings)

    @router.post(
        "/preview",
        summary="See what the network sees",
        tags=["classification"],
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


def _side(current: Classifier, wanted: int | None) -> int:
    """Return the resolution to draw at: of the variants of the paper, or of a loaded one. Raises `InvalidParameter`."""
    side = current.model.variant.resolution if wanted is None else wanted
    allowed = sorted({*RESOLUTIONS, *(variant.resolution for variant in current.models)})
    if side not in allowed:
        raise InvalidParameter(f"resolution: {side} is none of {', '.join(map(str, allowed))}")
    return side
