"""A page of another origin may call with a key and read what the answer says; a refusal says why."""

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.support.client import Launch, check_problem, launching
from tests.support.data import RED

ORIGIN = "https://a.example"


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with launching() as launch:
        yield launch(cors_origins=(ORIGIN,), api_keys="secret")


def preflight(
    client: TestClient, origin: str = ORIGIN, method: str = "POST", headers: str = "", private_network: str = ""
) -> Any:
    asked = {"Origin": origin, "Access-Control-Request-Method": method}
    more = {"Access-Control-Request-Headers": headers, "Access-Control-Request-Private-Network": private_network}
    return client.options("/predict", headers=asked | {name: value for name, value in more.items() if value})


@pytest.mark.parametrize(
    "header",
    ["authorization", "x-api-key", "x-request-id", "x-request-timeout-ms", "content-type", "traceparent, tracestate"],
)
@pytest.mark.parametrize("method", ["GET", "POST", "HEAD"])
def test_the_headers_that_the_service_reads_may_be_sent(client: TestClient, header: str, method: str) -> None:
    response = preflight(client, method=method, headers=header)
    assert (response.status_code, response.headers["access-control-allow-origin"]) == (200, ORIGIN)
    allowed = response.headers["access-control-allow-headers"].lower()
    assert all(name.strip() in allowed for name in header.split(","))


@pytest.mark.parametrize("key", [{"Authorization": "Bearer secret"}, {"X-API-Key": "secret"}, {}])
def test_whatever_is_answered_may_be_read_with_its_headers(client: TestClient, key: dict[str, str]) -> None:
    for method, path in (("POST", "/predict"), ("GET", "/labels"), ("GET", "/nothing")):
        response = client.request(method, path, content=RED, headers={"Origin": ORIGIN, **key})
        assert response.headers["access-control-allow-origin"] == ORIGIN
        exposed = {name.strip().lower() for name in response.headers["access-control-expose-headers"].split(",")}
        assert exposed >= {"x-request-id", "server-timing", "retry-after", "www-authenticate"}


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"origin": "https://b.example"}, "https://b.example"),
        ({"method": "DELETE"}, "DELETE"),
        ({"headers": "X-Else", "private_network": "true"}, "the request header X-Else is not one of Authorization, "),
        ({"headers": "content-type, X-Else"}, "the request header X-Else is not one of Authorization, "),
    ],
)
def test_a_preflight_that_asks_for_too_much_is_refused_with_a_problem(
    client: TestClient, asked: dict[str, str], says: str
) -> None:
    assert says in check_problem(preflight(client, **asked), 400, "malformed_request")


def test_a_page_of_a_public_address_may_call_into_a_private_network_if_its_origin_is_named(
    client: TestClient, launch: Launch
) -> None:
    allowed = preflight(client, private_network="true")
    assert (allowed.status_code, allowed.headers["access-control-allow-private-network"]) == (200, "true")
    everybody = preflight(launch(cors_origins=("*",)), private_network="true")
    assert "only if their origin is named" in check_problem(everybody, 400, "malformed_request")


def test_options_that_is_no_preflight_is_not_allowed(client: TestClient) -> None:
    check_problem(client.options("/predict", headers={"Origin": ORIGIN}), 405, "method_not_allowed")
