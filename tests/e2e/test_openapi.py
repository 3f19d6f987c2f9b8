"""Whatever the OpenAPI document allows, and much that it does not: the real process answers as the document says."""

import os
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from schemathesis import Case, CheckContext, CheckFunction, HookContext, Response
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import positive_data_acceptance

from app.api.openapi import RAW_TYPES
from app.config import Settings
from app.main import create_app
from tests.support.corpus import FORMATS
from tests.support.images import encoded, photo
from tests.support.processes import Process

pytestmark = pytest.mark.tensorflow

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "100"))
"""How many requests are made up for a route, beside those at the limits of its schema: 100 are a second or two.

More of them outlast the timeout of a test: `FUZZ_EXAMPLES=20000 pytest --timeout 0 tests/e2e/test_openapi.py`.
"""

DEADLINE = "X-Request-Timeout-Ms"
TIMEOUT_S = 30

document = schemathesis.openapi.from_dict(create_app(Settings()).openapi())
for name in RAW_TYPES:
    files = [encoded(photo(), form) for form in FORMATS]
    schemathesis.openapi.media_type(name, st.sampled_from(files) | st.binary(max_size=200))


@schemathesis.check
def no_fault_of_ours(_: CheckContext, response: Response, case: Case[Any]) -> None:
    """No 5xx, save the 504 of a caller who gives too little time."""
    assert response.status_code < 500 or (response.status_code == 504 and DEADLINE in (case.headers or {}))


@schemathesis.hook
def filter_case(_: HookContext, case: Case[Any]) -> bool:
    """Leave out a header that nobody knows: it is made up as wrong, and nobody refuses it."""
    return not any(name.lower().startswith("x-schemathesis-unknown") for name in case.headers or {})


# Every other check of schemathesis runs: status, content type and body are of the document, what its schemas exclude is
# refused, and other methods are 405 with `Allow`.
EXCLUDED: list[CheckFunction] = [
    not_a_server_error,  # `no_fault_of_ours` instead
    positive_data_acceptance,  # no schema says which bytes are an image, and that there are four α
]


@pytest.fixture(scope="module")
def session() -> Iterator[requests.Session]:
    """Connections that stay open, without a look at all variables of the environment, for a proxy, at each request."""
    with requests.Session() as session:
        session.trust_env = False
        yield session


@document.parametrize()
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_answer_is_one_of_the_document(case: Case[Any], server: Process, session: requests.Session) -> None:
    case.call_and_validate(base_url=server.url, session=session, timeout=TIMEOUT_S, excluded_checks=EXCLUDED)


def test_the_document_is_the_one_that_is_served(server: Process) -> None:
    assert httpx.get(f"{server.url}/openapi.json").json() == document.raw_schema
