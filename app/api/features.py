"""The routes of what a network's features say beside its answer: `/explain`, why, and `/embed`, what is alike."""

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal, NamedTuple, cast
from urllib.parse import quote

import numpy as np
from fastapi import APIRouter, Depends, Header, Query, Request, Response, Security
from pydantic_core import to_json

from app.api import openapi, payload, problems, response
from app.api.parameters import check_parameters, parameters_of
from app.api.predict import TimeoutMs, timeout_or_default
from app.api.security import Guard
from app.config import Settings
from app.errors import InvalidParameter, ServiceError, TooManyImages
from app.model.evidence import LAYER, Embedding, Evidence
from app.model.labels import Label
from app.model.model import Model
from app.observability.trace import Trace, trace
from app.prediction.classifier import Classifier
from app.prediction.result import Classification, Result
from app.prediction.selection import Alpha, Resolution, Selection, Single
from app.runtime.pipeline import Overlay, Payload, Wish
from app.schemas import EmbedResponse
from app.validation import COMPARED, nearest

RAW = "application/octet-stream"
LISTED = 4
"""So many classes are named in a message."""

ClassName = Annotated[
    str | None,
    Query(
        alias="class",
        description="a class by its number, label or WordNet id; default: the most probable",
        examples=["5"],
    ),
]
Size = Annotated[
    Literal["input", "photo"],
    Query(
        description="`input`: draw over what the network sees; "
        "`photo`: over all of the photo, at most 2,048 pixels long"
    ),
]
Unit = Annotated[bool, Query(description="scale each embedding to length 1, so that a dot product is the cosine")]
Accept = Annotated[str | None, Header(description=f"`{RAW}` for float32 numbers, little-endian, without JSON")]


def create_router(settings: Settings, guard: Guard, classifier: Callable[[], Classifier]) -> APIRouter:
    """Make the routes; the arguments are those of `routes.create_router`."""
    locked = [Security(guard)] if settings.api_keys else []
    router = APIRouter(tags=["classification"], dependencies=[*locked, Depends(check_parameters)])
    answers = Answers(settings, classifier)
    errors = openapi.responses(*openapi.IMAGES_ERRORS)
    router.post(
        "/explain",
        summary="See why",
        response_class=Response,
        responses=openapi.EXPLAIN_ANSWER | errors,
        openapi_extra=openapi.PREDICT_BODY,
    )(answers.explain)
    router.post(
        "/embed",
        summary="Get embeddings",
        response_model=EmbedResponse,
        responses=openapi.EMBED_ANSWER | errors,
        openapi_extra=openapi.PREDICT_BODY,
    )(answers.embed)
    return router


class Answers(NamedTuple):
    """What the routes answer, and what the answers are made with; the fields are arguments of `create_router`."""

    settings: Settings
    classifier: Callable[[], Classifier]

    async def explain(
        self,
        *,
        request: Request,
        class_: ClassName = None,
        size: Size = "input",
        alpha: Alpha = None,
        resolution: Resolution = None,
        timeout_ms: TimeoutMs = None,
    ) -> Response:
        """Draw over an image where the evidence for a class lies (orange), and where that against it (blue).

        It is what the classifier makes of each place of the last feature map: exact, and not an estimate. The same in
        numbers is in the answer of `/predict?explain=true`.
        """
        about = trace(request.scope)
        with self.classifier() as current:
            model, plan = _chosen(current, alpha, resolution)
            about.facts["variant"] = model.variant.name
            target = None if class_ is None else _class(model, class_, request.scope.get("root_path", ""))
            deadline = about.started + timeout_or_default(timeout_ms, self.settings) / 1000
            current.check_room(plan)  # before the body is read, which may be long
            current.check_room_for_preview()
            image = _only(await payload.read(request, self.settings, deadline, parameters_of(request)))
            work = current.classify([image], plan, deadline, about.span, Wish(classes=1, target=target))
            results = await payload.unless_departed(request.receive, work)
            response.account(results, about)
            payload.check_results(results, request.headers.get("content-type", ""), [image])
            found = cast("Classification", results[0])
            over = Overlay(cast("Evidence", found.evidence)[0], whole=size == "photo")
            draw = current.preview(image, model.variant.resolution, over, deadline=deadline)
            drawn = await payload.unless_departed(request.receive, draw)
        return Response(drawn.result, media_type="image/png", headers=_about_class(found, target))

    async def embed(
        self,
        *,
        request: Request,
        unit: Unit = False,
        alpha: Alpha = None,
        resolution: Resolution = None,
        accept: Accept = None,
        timeout_ms: TimeoutMs = None,
    ) -> Response:
        """Return for each image the average of the network's last features: alike for images that look alike.

        Embeddings of different weights or variants cannot be compared; the answer names both. As raw bytes, the images
        of a request are answered all, or not at all.
        """
        about = trace(request.scope)
        with self.classifier() as current:
            model, plan = _chosen(current, alpha, resolution)
            about.facts["variant"] = model.variant.name
            deadline = about.started + timeout_or_default(timeout_ms, self.settings) / 1000
            current.check_room(plan)
            images = await payload.read(request, self.settings, deadline, parameters_of(request))
            work = current.classify(images, plan, deadline, about.span, Wish(embedding=True))
            results = await payload.unless_departed(request.receive, work)
        batch_size = response.account(results, about)
        payload.check_results(results, request.headers.get("content-type", ""), images)
        if _wants_raw(accept or ""):
            return _raw(model, results, unit)
        return Response(to_json(_json(model, results, unit, batch_size, about)), media_type="application/json")


def _chosen(classifier: Classifier, alpha: float | None, resolution: int | None) -> tuple[Model, Single]:
    """Return the loaded model of these numbers, and the plan that asks it alone."""
    plan = cast("Single", Selection(alpha=alpha, resolution=resolution).plan(classifier.candidates(), degrade=False))
    model = classifier.models[plan.variants[0]]
    response.check_features([model])
    return model, plan


def _only(images: Sequence[Payload]) -> Payload:
    if len(images) > 1:
        raise TooManyImages(f"the request has {len(images)} images, and one is drawn")
    return images[0]


def _class(model: Model, name: str, root_path: str) -> int:
    """Return the class of this number, label or WordNet id.

    Raises `InvalidParameter` if there is none or more than one; it names the nearest class, or those that are meant.
    """
    found = _classes(model, name)
    if len(found) == 1:
        return found[0]
    if found:
        more = f"; {root_path}/labels lists all of them" if len(found) > LISTED else ""
        meant = _listed(model, found)
        raise InvalidParameter(f"class {name!r} may be {meant}; write one of these numbers instead{more}")
    if name.isdecimal():
        raise InvalidParameter(f"class {name[:COMPARED]} is not between 0 and {model.engine.classes - 1}")
    names = {text.casefold(): at for at, one in enumerate(model.labels) for text in _names(one)}
    near = nearest(name.casefold(), names)
    hint = f"the nearest is {model.labels[names[near]].label!r}, and " if near else ""
    raise InvalidParameter(f"there is no class {name[:COMPARED]!r}; {hint}{root_path}/labels lists all of them")


def _classes(model: Model, name: str) -> list[int]:
    """Return the classes of this number or of exactly this name; if there are none, those of it in another case."""
    number = int(name) if name.isdecimal() and len(name) <= COMPARED else None
    for fold in (str, str.casefold):
        wanted = fold(name)
        found = [
            at for at, one in enumerate(model.labels) if at == number or wanted in [fold(text) for text in _names(one)]
        ]
        if found:
            return found
    return []


def _names(one: Label) -> list[str]:
    return [one.label, one.wordnet_id] if one.wordnet_id else [one.label]


def _listed(model: Model, classes: Sequence[int]) -> str:
    """Return the numbers and names of the first of these classes, as a part of a sentence.

    A number that is the label of another class has so many zeros before it that it is no label any more.
    """
    listed = []
    for at in classes[:LISTED]:
        number = str(at)
        while _classes(model, number) != [at]:
            number = f"0{number}"
        label, *wordnet_id = _names(model.labels[at])
        listed.append(f"{number} ({', '.join([repr(label), *wordnet_id])})")
    if len(classes) > LISTED:
        listed.append("another")
    return f"{', '.join(listed[:-1])} or {listed[-1]}"


def _about_class(found: Classification, target: int | None) -> dict[str, str]:
    at = int(found.probabilities.argmax()) if target is None else target
    return {
        "X-Class-Id": str(at),
        "X-Class-Label": quote(found.model.labels[at].label),
        "X-Class-Probability": f"{found.probabilities[at]:.7g}",
        "X-Model": response.model_name(found.model),
    }


def _embedding(found: Classification, unit: bool) -> Embedding:
    embedding = cast("Embedding", found.embedding)
    length = float(np.linalg.norm(embedding)) if unit else 1.0
    return embedding / np.float32(length or 1.0)


def _wants_raw(accept: str) -> bool:
    """Whether a header `Accept`, which may list several types, names raw bytes and not JSON."""
    kinds = [payload.media_type(one) for one in accept.split(",")]
    return RAW in kinds and payload.JSON not in kinds


def _raw(model: Model, results: Sequence[Result], unit: bool) -> Response:
    rows = []
    for at, one in enumerate(results):
        if isinstance(one, ServiceError):
            raise type(one)(f"image {at}: {one.detail}", one.headers)
        rows.append(_embedding(one, unit))
    headers = {
        "X-Embedding-Shape": f"{len(rows)},{model.channels}",
        "X-Embedding-Layer": LAYER,
        "X-Model": response.model_name(model),
        "X-Weights-SHA256": model.weights_sha256,
    }
    return Response(np.stack(rows).astype("<f4").tobytes(), media_type=RAW, headers=headers)


def _json(model: Model, results: Sequence[Result], unit: bool, batch_size: int, current: Trace) -> dict[str, Any]:
    return {
        "model": response.model_reference(model),
        "weights_sha256": model.weights_sha256,
        "layer": LAYER,
        "dimensions": model.channels,
        "unit": unit,
        "results": [
            {"error": problems.problem(one, current.request_id)}
            if isinstance(one, ServiceError)
            else {"embedding": [float(f"{value:.7g}") for value in _embedding(one, unit)]}
            for one in results
        ],
        "cost": response.cost_of((model,)),
        "timing": response.timing(current),
        "batch_size": batch_size,
        "request_id": current.request_id,
    }
