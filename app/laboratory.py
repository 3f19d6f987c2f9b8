"""The routes beside the classification: the variants to choose from, and what the network sees. No logic."""

import time
from collections.abc import Callable

from fastapi import APIRouter, Request, Response, Security

from app import catalogue, openapi, payload
from app.api import unless_departed
from app.classifier import Classifier
from app.config import Settings
from app.preview import Previewer
from app.schemas import Catalogue
from app.security import Guard
from app.telemetry import trace


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
    async def preview(request: Request) -> Png:
        """Answer the network's input for an image: upright, its central square, at the served resolution."""
        current = classifier()
        deadline = time.monotonic() + settings.request_timeout_ms / 1000
        previewer.check_room()  # before the body is read, which may be long
        content = await payload.read_raw(request, settings, deadline)
        answer = await unless_departed(request, previewer.preview(current.preview, content, deadline))
        trace(request.scope).stages["decode"] = answer.run_ms
        return Png(answer.result)

    return router
