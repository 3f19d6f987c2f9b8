"""The OpenAPI document is valid, complete, and true: its examples are sent and answered."""

import base64
import re
from typing import Any

import pytest
from fastapi.testclient import TestClient
from openapi_spec_validator import validate

from app.config import Settings
from app.errors import ImpossibleBudget, MethodNotAllowed, NotFound
from app.main import create_app
from app.oip import routes
from app.oip.schemas import InferenceResponse
from app.schemas import EXAMPLE_PNG, PredictResponse, Problem
from tests.support.client import ERRORS, started
from tests.support.fakes import colour_model, mosaic_model, serving

# Answered elsewhere.
NOT_OF_PREDICT = {MethodNotAllowed, NotFound}


@pytest.fixture(scope="module")
def document() -> Any:
    return create_app(Settings(), serving(colour_model())).openapi()


def examples(operation: Any) -> dict[str, dict[str, Any]]:
    """Return the example problems of an operation by code."""
    found = {}
    for status, response in operation["responses"].items():
        content = response.get("content", {}).get("application/problem+json", {})
        for code, example in content.get("examples", {}).items():
            assert example["value"]["status"] == int(status)
            found[code] = example["value"]
    return found


def test_the_document_is_valid(document: Any) -> None:
    validate(document)


def test_every_route_is_in_it_with_its_errors(document: Any) -> None:
    probes = {"/healthz", "/readyz", "/metrics"}
    model = {f"{path}{end}" for path in routes.PATHS for end in ("", "/ready", "/infer")}
    protocol = {"/v2", "/v2/health/live", "/v2/health/ready"} | model
    ours = {"/predict", "/explain", "/embed", "/preview", "/model-info", "/variants", "/labels"}
    assert set(document["paths"]) == ours | probes | protocol
    for path, operations in document["paths"].items():
        for operation in operations.values():
            assert ({"500"} if path in {"/metrics", "/v2"} else {"500", "503"}) <= set(operation["responses"]), path
            assert operation["summary"]
            assert operation["description"]


def test_every_error_of_predict_is_in_it_with_an_example_that_is_a_problem(document: Any) -> None:
    found = examples(document["paths"]["/predict"]["post"])
    assert set(found) == {kind.code for kind in set(ERRORS) - NOT_OF_PREDICT}
    for code, example in found.items():
        assert Problem.model_validate(example).model_dump() == example
        assert example["code"] == code


def test_an_error_has_the_headers_that_the_document_names(document: Any) -> None:
    described = document["paths"]["/predict"]["post"]["responses"]
    with started(create_app(Settings(api_keys=("key",)), serving(colour_model()))) as client:
        compressed = {"X-API-Key": "key", "Content-Encoding": "gzip"}
        refused = [client.post("/predict"), client.post("/predict", headers=compressed, content=b"x")]
    for response, name in zip(refused, ("WWW-Authenticate", "Accept-Encoding"), strict=True):
        assert name in response.headers
        assert set(described[str(response.status_code)]["headers"]) == {name}
    assert set(described["429"]["headers"]) == set(described["503"]["headers"]) == {"Retry-After"}


def test_routes_that_know_no_budget_have_all_other_errors_of_predict(document: Any) -> None:
    for path in ("/explain", "/embed"):
        found = examples(document["paths"][path]["post"])
        assert set(found) == {kind.code for kind in set(ERRORS) - NOT_OF_PREDICT - {ImpossibleBudget}}


def test_the_example_of_a_wrong_parameter_is_what_the_route_answers(document: Any) -> None:
    asked = []
    with started(create_app(Settings(), serving(mosaic_model()))) as client:
        for path, methods in document["paths"].items():
            for method, operation in methods.items():
                example = examples(operation).get("invalid_parameter")
                if example is None:
                    continue
                url = path.format(name="mobilenet", version="0.25@64")
                wrong = re.fullmatch(r"(?P<query>\w+): .*|(?P<header>X-\S+) (?P<value>\d+) .*", example["detail"])
                assert wrong
                query = {wrong["query"]: "1"} if wrong["query"] else {}
                headers = {wrong["header"]: wrong["value"]} if wrong["header"] else {}
                answer = client.request(method, url, params=query, headers=headers)
                assert (answer.status_code, answer.json()["detail"]) == (422, example["detail"]), path
                asked.append(path)
    assert {"/predict", "/explain", "/embed", "/preview", "/model-info", "/labels", "/variants"} < set(asked)


def test_every_error_of_the_protocol_is_in_it_as_its_clients_read_it(document: Any) -> None:
    for path in routes.PATHS:
        found = examples(document["paths"][f"{path}/infer"]["post"])
        assert set(found) == {kind.code for kind in set(ERRORS) - {MethodNotAllowed, ImpossibleBudget}}
        assert all(example["error"] == example["detail"] for example in found.values())


def test_an_answer_of_the_protocol_is_json_or_has_bytes_after_it(document: Any) -> None:
    for path in routes.PATHS:
        content = document["paths"][f"{path}/infer"]["post"]["responses"]["200"]["content"]
        assert set(content) == {"application/json", "application/octet-stream"}


def test_the_json_example_of_the_protocol_is_answered(document: Any) -> None:
    content = document["paths"][f"{routes.PATHS[0]}/infer"]["post"]["requestBody"]["content"]
    assert "$ref" not in str(content)
    with TestClient(create_app(Settings(), serving(colour_model()))) as client:
        while client.get("/readyz").status_code != 200:
            pass
        for example in content["application/json"]["examples"].values():
            answer = client.post("/v2/models/mobilenet/infer", json=example["value"])
            assert InferenceResponse.model_validate(answer.json()).outputs[0].shape == [1, 3]


def test_codes_are_unique_and_titles_are_words() -> None:
    assert len({kind.code for kind in ERRORS}) == len({kind.title for kind in ERRORS}) == len(ERRORS)


def test_the_only_422_is_a_problem(document: Any) -> None:
    for operations in document["paths"].values():
        for operation in operations.values():
            assert set(operation["responses"].get("422", {}).get("content", {})) <= {"application/problem+json"}
    assert "HTTPValidationError" not in document["components"]["schemas"]


def test_every_operation_has_a_plain_name_and_its_tag_is_described(document: Any) -> None:
    operations = [operation for methods in document["paths"].values() for operation in methods.values()]
    names = [operation["operationId"] for operation in operations]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch("[a-z]+(_[a-z]+){0,2}", name) for name in names), names
    described = {tag["name"] for tag in document["tags"] if tag["description"].endswith(".")}
    assert {tag for operation in operations for tag in operation["tags"]} == described


def test_every_form_of_predict_is_in_it_and_its_json_examples_are_answered(document: Any) -> None:
    content = document["paths"]["/predict"]["post"]["requestBody"]["content"]
    assert {"image/jpeg", "image/png", "application/octet-stream", "multipart/form-data", "application/json"} <= set(
        content
    )
    with TestClient(create_app(Settings(), serving(colour_model()))) as client:
        while client.get("/readyz").status_code != 200:
            pass
        for example in content["application/json"]["examples"].values():
            answer = client.post("/predict", json=example["value"])
            assert answer.status_code == 200
            assert len(PredictResponse.model_validate(answer.json()).results) == len(example["value"]["images"])


def test_the_example_image_is_a_png() -> None:
    assert base64.b64decode(EXAMPLE_PNG, validate=True).startswith(b"\x89PNG")
