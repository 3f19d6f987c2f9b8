"""A prediction, from the protocol straight to the classifier and back: `docs/decisions/0011` says why.

Routing, dependencies, middleware and their tasks cost a small photo as much time as its network. A request that is
right, in whichever form its images come, needs none of them; any other is the application's, which says what is wrong
with it, and the answers are the same.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic_core import to_json

from app.api import openapi, query
from app.api.payload import is_known, late, media_type, parse
from app.api.refusal import ROUTE, ROUTES, refusal
from app.api.reply import Field, Fields, reply
from app.api.response import answer
from app.api.routes import CLIENT_CLOSED_REQUEST, plan_of, timeout_or_default, top_k_or_default
from app.api.security import Guard
from app.config import Settings
from app.errors import InternalError, QueueFull, ServiceError
from app.observability.metrics import Metrics
from app.observability.trace import Trace, begin, finish, request_id
from app.prediction.classifier import Classifier
from app.prediction.result import Found
from app.prediction.selection import Plan

if TYPE_CHECKING:
    from app.observability.spans import Spans

logger = logging.getLogger(__name__)

EXPRESS = "express"
"""The name in the state of the application under which the server finds it."""

APPLICATIONS = {b"transfer-encoding", b"upgrade"}
"""Header fields that the application sees to."""
TIMEOUT = b"x-request-timeout-ms"
TIMEOUT_DIGITS = 9


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a request wants, by its head: an answer within milliseconds, of so many classes, to such a body."""

    plan: Plan
    top_k: int
    timeout_ms: int
    content_type: str


class Express:
    """Takes the requests to `/predict` that need nothing but the classifier, or refuses them at once."""

    def __init__(
        self, settings: Settings, classifier: Callable[[], Classifier], metrics: Metrics, spans: "Spans | None" = None
    ) -> None:
        self._classifier = classifier
        self._spans = spans
        self._guard = Guard(settings.api_keys)
        self.settings = settings
        self.metrics = metrics

    def take(self, target: bytes, fields: Fields, own: Sequence[Field]) -> "Prediction | bytes | None":
        """Take a POST by its head, or refuse it with a whole answer; None leaves it to the application."""
        name, _, asked = target.partition(b"?")
        path = name.decode("latin-1")
        known = dict(reversed(fields))  # of a name that is given twice the first counts, as for the application
        # A browser needs the headers of CORS too, and who has no key gets to know that and nothing else.
        if path not in ROUTES or b"origin" in known or not self._guard.admits(known):
            return None
        try:
            current = self._classifier()
            wanted = self._admit(current, path, asked, known)
        except QueueFull as error:
            return refusal(error, self._trace(known), self.metrics, own, path)
        except ServiceError:
            return None  # starting or stopping, or the request is wrong, which the application says
        return None if wanted is None else Prediction(self, current, wanted, self._trace(known), own)

    def _admit(self, current: Classifier, path: str, asked: bytes, known: Mapping[bytes, bytes]) -> Wanted | None:
        """Return what is wanted if there is room for it; None if the application is to see to it."""
        if path != ROUTE:
            current.check_room()
            return None
        wanted = self._wanted(current, asked, known)
        if wanted is not None:
            current.check_room(wanted.plan)
        return wanted if self._is_plain(known) else None

    def _wanted(self, current: Classifier, asked: bytes, known: Mapping[bytes, bytes]) -> Wanted | None:
        found, timeout = query.read(asked), known.get(TIMEOUT)
        if found is None or not (timeout is None or (timeout.isdigit() and len(timeout) <= TIMEOUT_DIGITS)):
            return None
        return Wanted(
            plan_of(found.wish, current, self.settings),
            top_k_or_default(found.top_k, current.model),
            timeout_or_default(None if timeout is None else int(timeout), self.settings),
            known.get(b"content-type", b"").decode("latin-1"),
        )

    def _is_plain(self, known: Mapping[bytes, bytes]) -> bool:
        length = known.get(b"content-length", b"")
        sized = length.isdigit() and 0 < int(length) <= self.settings.max_body_bytes
        known_form = is_known(media_type(known.get(b"content-type", b"").decode("latin-1")))
        return sized and known_form and APPLICATIONS.isdisjoint(known)

    def _trace(self, known: Mapping[bytes, bytes]) -> Trace:
        if self._spans is None:
            return Trace(request_id(known.get(b"x-request-id", b"").decode("latin-1")))
        names = ("x-request-id", "traceparent", "tracestate")
        return begin({name: known.get(name.encode(), b"").decode("latin-1") for name in names}, self._spans)


class Prediction:
    """One such request, as uvicorn's protocol knows it: it calls `set` whenever something about it changed."""

    response_complete = False
    disconnected = False
    more_body = True
    keep_alive = True
    task: asyncio.Task[None] | None = None
    _timer: asyncio.TimerHandle | None = None

    def __init__(
        self, express: Express, classifier: Classifier, wanted: Wanted, trace: Trace, own: Sequence[Field]
    ) -> None:
        self.body: list[bytes] = []
        self.message_event = self
        self._express = express
        self._classifier = classifier
        self._wanted = wanted
        self._trace = trace
        self._own = own

    def begin(self, loop: asyncio.AbstractEventLoop, respond: Callable[..., None]) -> None:
        """Expect the body; `respond` sends the answer."""
        self._express.metrics.begun()
        self._trace.facts["variant"] = self._classifier.model.variant.name
        self._loop = loop
        self._respond = respond

    def wait(self) -> None:
        """Wait for the body, of which there is more to come, for as long as the request may take."""
        if self._timer is None:
            self._timer = self._loop.call_later(self._wanted.timeout_ms / 1000, self._late)

    def _wait_no_more(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def set(self) -> None:
        """Go on: a part of the body came, or all of it, or the client left."""
        if self.response_complete:
            return
        if self.disconnected:
            self._leave()
        elif not self.more_body and self.task is None:
            self._wait_no_more()
            self.task = self._loop.create_task(self._classify())

    def _leave(self) -> None:
        self._wait_no_more()
        self.response_complete = True
        if self.task is not None:
            self.task.cancel()
        self._finish(CLIENT_CLOSED_REQUEST)

    def _late(self) -> None:
        self._fail(late(self._express.settings.request_timeout_ms))

    async def _classify(self) -> None:
        outcomes = await self._outcomes(b"".join(self.body))
        if self.response_complete:
            return  # the client left in the same moment
        if len(outcomes) == 1 and isinstance(outcomes[0], ServiceError):
            self._fail(outcomes[0])
        else:
            self._answer(outcomes)

    async def _outcomes(self, body: bytes) -> Sequence[Found]:
        settings = self._express.settings
        deadline = self._trace.started + self._wanted.timeout_ms / 1000
        try:
            images = await parse(body, self._wanted.content_type, settings)
            return await self._classifier.classify(images, self._wanted.plan, deadline, self._trace.span)
        except ServiceError as error:
            return [error]
        except Exception:
            logger.exception("a prediction failed")
            return [InternalError("the request failed for a reason that is ours")]

    def _answer(self, outcomes: Sequence[Found]) -> None:
        body = answer(self._classifier, self._wanted.plan, outcomes, self._wanted.top_k, self._trace)
        self._send(200, "application/json", to_json(body), self._trace.headers)

    def _fail(self, error: ServiceError) -> None:
        self._trace.facts["code"] = error.code
        body = openapi.problem(error, self._trace.request_id).model_dump_json().encode()
        self._send(error.status, openapi.PROBLEM_TYPE, body, error.headers | self._trace.headers)

    def _send(self, status: int, kind: str, body: bytes, headers: Mapping[str, str]) -> None:
        self.response_complete = True
        close = not self.keep_alive
        self._respond(reply(status, kind, body, headers, self._own, close=close), close=close)
        self._finish(status)

    def _finish(self, status: int) -> None:
        finish(self._express.metrics, self._trace, status, method="POST", path=ROUTE, route=ROUTE)
        self._express.metrics.ended()
