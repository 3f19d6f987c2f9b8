"""The application in this process, started with settings, and what its answers are checked with."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from app import errors
from app.config import Settings
from app.errors import ServiceError
from app.main import create_app
from app.model.model import Model
from tests.support.fakes import colour_model, serving

if TYPE_CHECKING:
    from app.observability.spans import Spans

Launch = Callable[..., TestClient]
ERRORS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, ServiceError) and kind is not ServiceError
]
"""Every error of the service."""


@contextmanager
def started(app: FastAPI) -> Iterator[TestClient]:
    """Start an application and wait until it is ready; it ends with the context."""
    with TestClient(app, raise_server_exceptions=False) as client:
        while client.get("/readyz").status_code != 200:
            time.sleep(0.01)
        yield client


@contextmanager
def launching() -> Iterator[Launch]:
    """Give a function that starts the application and waits until it is ready; all end with the context."""
    with ExitStack() as stack:

        def start(model: Model | None = None, spans: "Spans | None" = None, **settings: Any) -> TestClient:
            app = create_app(Settings(**settings), serving(model or colour_model()), lambda: spans)
            return stack.enter_context(started(app))

        yield start


def check_problem(response: Any, status: int, code: str, *, protocol: bool = False) -> str:
    """Check that an answer is this problem, whole and of one shape; return its detail.

    `protocol` is for the routes below `/v2`, whose clients read the detail as `error`.
    """
    body = response.json()
    assert (response.status_code, body["status"], body["code"]) == (status, status, code), body
    assert body["type"] == f"urn:mobilenet:problem:{code}"
    assert [body["title"]] == [kind.title for kind in ERRORS if kind.code == code]
    assert response.headers["content-type"] == "application/problem+json"
    facts = {"queue_depth", "estimated_wait_ms"} if status == 429 else set()
    facts |= {"error"} if protocol else set()
    assert set(body) == {"type", "title", "status", "detail", "code", "request_id"} | facts
    assert body.get("error", body["detail"]) == body["detail"]
    assert body["request_id"] == response.headers["x-request-id"]
    return str(body["detail"])


def samples(client: TestClient) -> dict[tuple[str, ...], float]:
    """Return every sample of `/metrics` by its name and the values of its labels, as Prometheus reads them."""
    return parsed(client.get("/metrics").text)


def parsed(text: str) -> dict[tuple[str, ...], float]:
    """Return every sample of a text that Prometheus reads."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
