"""Behind a proxy that strips a prefix, everything that the service links to is below the prefix."""

from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from app.config import Settings
from app.main import create_app
from tests.support.client import Launch, check_problem, started
from tests.support.data import RED
from tests.support.fakes import colour_model, mosaic_model, serving

PROXY = ("127.0.0.1", 50000)


def check(client: TestClient, prefix: str, **options: Any) -> None:
    """Check every kind of route by the paths that are left when a proxy has stripped the prefix."""
    assert client.post("/predict", content=RED, **options).status_code == 200
    assert client.get("/openapi.json", **options).json()["servers"] == [{"url": prefix}]
    for path in ("/docs", "/redoc"):
        page = client.get(path, **options).text
        assert f"{prefix}/openapi.json" in page
        assert f"{prefix}/docs-assets/" in page
    for path in ("/", "/web/page.js", "/samples/golf-ball.webp", "/docs-assets/swagger-ui.css", "/healthz", "/v2"):
        assert client.get(path, **options).status_code == 200, path
    for path in ("/nothing", "/web/nothing"):
        nothing = check_problem(client.get(path, **options), 404, "not_found")
        assert nothing == f"there is nothing at {prefix}{path}; {prefix}/docs lists what there is"


def test_the_setting_is_the_prefix_of_every_link(launch: Launch) -> None:
    client = launch(root_path="/vision/v1")
    check(client, "/vision/v1")
    assert client.post("/vision/v1/predict", content=RED).status_code == 200, "a proxy that strips nothing"


def test_where_the_classes_are_listed_is_said_with_the_prefix(launch: Launch) -> None:
    client = launch(mosaic_model(), root_path="/vision")
    detail = check_problem(client.post("/explain?class=dog", content=RED), 422, "invalid_parameter")
    assert detail == "there is no class 'dog'; /vision/labels lists all of them"


def application(**settings: Any) -> FastAPI:
    return create_app(Settings(**settings), serving(colour_model()), lambda: None)


@pytest.mark.parametrize("header", ["/vision", "/vision/"])
def test_a_proxy_on_this_machine_says_its_prefix_with_each_request(header: str) -> None:
    app = application()
    with started(app):
        client = TestClient(app, client=PROXY)
        check(client, "/vision", headers={"X-Forwarded-Prefix": header})
        assert "servers" not in client.get("/openapi.json").json()


@pytest.mark.parametrize("prefix", ["/vision", "/v2"])
def test_clients_of_the_protocol_read_their_errors_below_a_prefix_too_and_others_read_theirs(
    launch: Launch, prefix: str
) -> None:
    client = launch(root_path=prefix)
    detail = check_problem(client.get(f"{prefix}/v2/models/resnet"), 404, "not_found", protocol=True)
    assert "mobilenet is served" in detail
    check_problem(client.get(f"{prefix}/v2nd"), 404, "not_found")
    check_problem(client.post(f"{prefix}/predict", content=b"no image"), 415, "unsupported_image")
    check_problem(client.get(f"{prefix}/model-info?alpha=3"), 422, "invalid_parameter")


@pytest.mark.parametrize(
    ("address", "header"),
    [("203.0.113.7", "/vision"), ("127.0.0.1", "//evil.example"), ("127.0.0.1", "/a b"), ("127.0.0.1", "vision")],
)
def test_what_a_stranger_says_or_what_is_no_prefix_does_not_count(address: str, header: str) -> None:
    app = application()
    with started(app):
        client = TestClient(app, client=(address, 50000))
        assert "servers" not in client.get("/openapi.json", headers={"X-Forwarded-Prefix": header}).json()


@pytest.mark.parametrize("path", ["/", "/a b", "//a"])
def test_a_root_path_that_is_none_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="begin with a slash"):
        Settings(root_path=path)
