"""429 for a request that finds the queue full, made of its headers alone.

A service that is asked for five times what it can do answers four requests of five with a refusal; through routing,
dependencies and middleware that took the processor from those that could be served. The answer is the same either way.
"""

from collections.abc import Sequence
from functools import lru_cache

from app.api import openapi
from app.api.reply import Field, reply
from app.errors import QueueFull
from app.observability.metrics import Metrics
from app.observability.trace import Trace, finish

ROUTE = "/predict"
ROUTES = {ROUTE: ROUTE, "/v2/models/mobilenet/infer": "/v2/models/{name}/infer"}
"""The paths that are refused here, and the templates under which they are counted."""
ID = "@"
"""Stands for the request's id in what is kept; no id has this sign."""


def refusal(error: QueueFull, current: Trace, metrics: Metrics, own: Sequence[Field] = (), path: str = ROUTE) -> bytes:
    """Return the whole answer to a request for which there is no room, counted and logged.

    `path` is one of `ROUTES`; `own` are the header fields that the server puts on every answer.
    """
    current.facts["code"] = error.code
    body = _problem(error.detail, tuple(error.facts.items()), path).replace(ID, current.request_id).encode()
    finish(metrics, current, error.status, method="POST", path=path, route=ROUTES[path])
    return reply(error.status, openapi.PROBLEM_TYPE, body, error.headers | current.headers, own, close=False)


@lru_cache(256)
def _problem(detail: str, facts: tuple[tuple[str, int], ...], path: str) -> str:
    # Most of those that are refused in a moment are told the same.
    return openapi.problem(QueueFull(detail, facts=dict(facts)), ID, path).model_dump_json()
