"""`/preview`: a drawing has the deadline that its request asks for, as the other routes that take images have it."""

import asyncio
from typing import Any

import pytest

from app.config import Settings
from app.main import create_app
from tests.support.asgi import Client, ended, ready
from tests.support.client import check_problem, launching
from tests.support.data import solid
from tests.support.fakes import COLOURS, colour_model, serving
from tests.support.pen import Pen

RED = solid(COLOURS["red"])
SOON = (b"x-request-timeout-ms", b"200")


def test_a_deadline_that_cannot_be_kept_is_refused() -> None:
    with launching() as launch:
        client = launch()
        answer = client.post("/preview", content=RED, headers={"X-Request-Timeout-Ms": "10000"})
        assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
        for wanted in ("0", "10001"):
            answer = client.post("/preview", content=RED, headers={"X-Request-Timeout-Ms": wanted})
            detail = check_problem(answer, 422, "invalid_parameter")
            assert detail == f"X-Request-Timeout-Ms {wanted} is not between 1 and 10000"


@pytest.mark.parametrize("body", [None, RED], ids=["a body that does not come", "a drawing that takes long"])
async def test_a_request_that_is_in_a_hurry_is_told_so_when_its_own_deadline_has_passed(
    body: bytes | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    pen = Pen(monkeypatch)
    app: Any = create_app(Settings(request_timeout_ms=60_000), serving(colour_model()))
    async with app.router.lifespan_context(app):
        await ready(app)
        client = Client(app, body, SOON, path="/preview")
        async with asyncio.timeout(10):
            await ended(client)
        pen.gate.set()
    assert (client.status, client.problem["code"]) == (504, "deadline_exceeded")
