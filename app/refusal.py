"""429 for a request that finds the queue full, made of its headers alone.

A service that is asked for five times what it can do answers four requests of five with a refusal; through routing,
dependencies and middleware that took the processor from those that could be served. The answer is the same either way.
"""

from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus

from app import openapi
from app.errors import QueueFull, ServiceError
from app.metrics import Metrics
from app.security import HEADERS, Guard
from app.telemetry import Trace, log, request_id

Field = tuple[bytes, bytes]
Fields = list[Field]
"""The header fields of a request, names in lower case."""

ROUTE = "/predict"
REFUSAL = "refusal"
"""The name in the state of the application under which the server finds it."""


class Refusal:
    """Decides from the head of a request whether it is refused at once."""

    def __init__(self, check_room: Callable[[], None], guard: Guard, metrics: Metrics) -> None:
        self._check_room = check_room
        self._guard = guard
        self._metrics = metrics

    def __call__(self, method: bytes, target: bytes, fields: Fields, own: Sequence[Field] = ()) -> bytes | None:
        """Return the whole answer to a request that finds no room; None for one that the application shall see.

        `own` are the header fields that the server puts on every answer.
        """
        if method != b"POST" or target.partition(b"?")[0] != ROUTE.encode():
            return None
        try:
            self._check_room()
        except QueueFull as error:
            known = dict(fields)
            # A browser needs the headers of CORS too, and who has no key gets to know that and nothing else.
            return self._answer(error, known, own) if b"origin" not in known and self._guard.admits(known) else None
        except ServiceError:
            pass  # starting or stopping, which the application says
        return None

    def _answer(self, error: QueueFull, known: Mapping[bytes, bytes], own: Sequence[Field]) -> bytes:
        current = Trace(request_id(known.get(b"x-request-id", b"").decode("latin-1")), facts={"code": error.code})
        body = openapi.problem(error, current.request_id).model_dump_json().encode()
        headers = HEADERS | error.headers | current.headers
        headers |= {"Content-Type": openapi.PROBLEM_TYPE, "Content-Length": str(len(body))}
        self._metrics.request(ROUTE, error.status)
        self._metrics.rejected(error.code)
        log("POST", ROUTE, current, error.status)
        head = [f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}".encode()]
        head += [name + b": " + value for name, value in own]
        head += [f"{name.lower()}: {value}".encode() for name, value in headers.items()]
        return b"\r\n".join([*head, b"", body])
