"""`POST /predict`, from its head to its response: one ASGI callable in front of the FastAPI application.

Routing, dependencies, middleware and their tasks would cost a small photo as much time as its network. FastAPI keeps
the route for the document alone. Decision 0011 has the figures.
"""

import logging
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Annotated, Any, NamedTuple
from urllib.parse import parse_qsl

from fastapi import Header
from pydantic import Field, TypeAdapter, ValidationError
from pydantic_core import to_json
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from app.api import payload, problems
from app.api.parameters import check_names
from app.api.response import check_features, predict_response, variant_of
from app.api.security import RAW_HEADERS, Guard
from app.config import Settings
from app.errors import InvalidParameter, ServiceError
from app.observability.trace import SPANS, Requests, Trace
from app.prediction.blocking import top_k_or_default
from app.prediction.classifier import Classifier
from app.prediction.selection import DEFAULT, Plan, Selection
from app.runtime.pipeline import NOTHING, Wish

logger = logging.getLogger(__name__)

ROUTE = "/predict"
REMEMBERED_BYTES = 256
"""Longer queries are read anew each time, so that what is remembered is bounded."""
TIMEOUT = "X-Request-Timeout-Ms"

TopK = Annotated[
    int | None, Field(description="how many classes to answer: 1 to their number; default 5", examples=[5])
]
Explain = Annotated[
    bool | None,
    Field(description="for each class of the answer, also what each place in the image says for it or against it"),
]
TimeoutMs = Annotated[
    int | None,
    Header(
        alias=TIMEOUT,
        description="deadline of this request in milliseconds, at most MOBILENET_REQUEST_TIMEOUT_MS",
        examples=[500],
    ),
]


class PredictQuery(Selection):
    """The query of a prediction: a way to choose the variant, and a number of classes."""

    top_k: TopK = None
    explain: Explain = None


_timeout_ms: TypeAdapter[int | None] = TypeAdapter(int | None)


class Wanted(NamedTuple):
    """What a request wants, by its head: a plan, so many classes, extras, a response by a time of `time.monotonic`."""

    plan: Plan
    top_k: int
    deadline: float
    wish: Wish


class Request(NamedTuple):
    """A request for a prediction: its scope, its headers, and what receives its body."""

    scope: Scope
    headers: Mapping[str, str]
    receive: Receive

    @classmethod
    def of(cls, scope: Scope, receive: Receive) -> "Request":
        """Read a scope. Its headers become a plain dictionary, in which a look-up costs next to nothing."""
        fields = reversed(scope["headers"])  # of a name that is there twice the first counts
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in fields}
        return cls(scope, headers, receive)


class Predict:
    """Answers `POST /predict`, whatever the form of its images and whatever is wrong with it."""

    def __init__(
        self, settings: Settings, guard: Guard, classifier: Callable[[], Classifier], requests: Requests
    ) -> None:
        """`classifier` returns the classifier once it is ready, or raises why it is not."""
        self._settings = settings
        self._classifier = classifier
        self._requests = requests
        self._guard = guard

    @staticmethod
    def answers(scope: Scope) -> bool:
        """Whether a request is for this callable."""
        wanted: bool = scope["type"] == "http" and scope["path"] == scope.get("root_path", "") + ROUTE
        return wanted and bool(scope["method"] == "POST")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, count it, and write its line in the log."""
        request = Request.of(scope, receive)
        current = self._requests.begin(request.headers, scope.get("state", {}).get(SPANS))
        status = problems.CLIENT_CLOSED_REQUEST
        try:
            status, media_type, body, headers = await self._respond(request, current)
            await _send(send, status, media_type, body, headers)
        except ClientDisconnect:
            pass
        finally:
            self._requests.end(current, status, method="POST", path=scope["path"], route=ROUTE)

    async def _respond(self, request: Request, current: Trace) -> tuple[int, str, bytes, Mapping[str, str]]:
        """Return the status, the media type, the body and the headers of the response."""
        try:
            return 200, "application/json", to_json(await self._predict(request, current)), current.headers
        except ClientDisconnect:
            raise
        except ServiceError as exc:  # not kept: it and this frame would refer to each other, and stay in memory
            return exc.status, problems.MEDIA_TYPE, *problems.respond(exc, current, request.scope)
        except Exception:
            logger.exception("a prediction failed")
            error = problems.bug()
            return error.status, problems.MEDIA_TYPE, *problems.respond(error, current, request.scope)

    async def _predict(self, request: Request, current: Trace) -> dict[str, Any]:
        """Return the `PredictResponse` of a request. Raises the `ServiceError` of one that cannot be met."""
        self._guard.check(request.headers)
        query = _query(request.scope["query_string"])
        timeout_ms = _timeout(request.headers.get(TIMEOUT.lower()))
        with self._classifier() as classifier:
            current.facts["variant"] = classifier.model.variant.name
            wanted = self._wanted(query, timeout_ms, classifier, current)
            current.facts["variant"] = variant_of(wanted.plan, classifier.model.variant).name
            classifier.check_room(wanted.plan)  # before the body is read, which may be long
            images = await payload.read(request, self._settings, wanted.deadline, PredictQuery.model_fields)
            work = classifier.classify(images, wanted.plan, wanted.deadline, current.span, wanted.wish)
            results = await payload.unless_departed(request.receive, work)
            payload.check_results(results, request.headers.get("content-type", ""), images)
            return predict_response(classifier, wanted.plan, results, wanted.top_k, current)

    def _wanted(self, query: PredictQuery, timeout_ms: int | None, classifier: Classifier, current: Trace) -> Wanted:
        top_k = top_k_or_default(query.top_k, classifier.model.engine.classes, "top_k", InvalidParameter)
        deadline = current.started + timeout_or_default(timeout_ms, self._settings) / 1000
        plain = query.is_default and not self._settings.degrade
        plan = DEFAULT if plain else query.plan(classifier.candidates(), self._settings.degrade)
        if not query.explain:
            return Wanted(plan, top_k, deadline, NOTHING)
        check_features(classifier.models_of(plan))
        return Wanted(plan, top_k, deadline, Wish(classes=top_k))


async def _send(send: Send, status: int, media_type: str, body: bytes, headers: Mapping[str, str]) -> None:
    own = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
    about = [(b"content-type", media_type.encode()), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": [*RAW_HEADERS, *about, *own]})
    await send({"type": "http.response.body", "body": body})


def _query(query: bytes) -> PredictQuery:
    return _remembered(query) if len(query) <= REMEMBERED_BYTES else _read(query)


def _read(query: bytes) -> PredictQuery:
    """Read a query. Raises `InvalidParameter`."""
    given = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
    check_names((name for name, _ in given), PredictQuery.model_fields)
    try:
        return PredictQuery.model_validate(dict(given))
    except ValidationError as exc:
        raise problems.invalid(exc.errors()[0]) from exc


_remembered = lru_cache(256)(_read)  # clients ask in the same words again and again


def _timeout(given: str | None) -> int | None:
    if given is None:
        return None
    try:
        return _timeout_ms.validate_python(given)
    except ValidationError as exc:
        raise problems.invalid({**exc.errors()[0], "loc": (TIMEOUT,)}) from exc


def timeout_or_default(wanted_ms: int | None, settings: Settings) -> int:
    """Return the milliseconds that a request has. Raises `InvalidParameter` if it wants more than there are."""
    if wanted_ms is not None and not 1 <= wanted_ms <= settings.request_timeout_ms:
        raise InvalidParameter(f"{TIMEOUT} {wanted_ms} is not between 1 and {settings.request_timeout_ms}")
    return wanted_ms or settings.request_timeout_ms
