"""The part of the OpenAPI document about the protocol says what is true."""

from typing import Any

import pytest
from pydantic import BaseModel

from app.oip.schemas import (
    INFER_ANSWER,
    INFER_BODY,
    AnswerParameters,
    BinarySize,
    InferenceRequest,
    InferenceResponse,
    InputTensor,
    ModelMetadata,
    ModelReady,
    OutputParameters,
    OutputTensor,
    RequestedOutput,
    RequestParameters,
    ServerMetadata,
    TensorMetadata,
    path_parameters,
)
from app.schemas import EXAMPLE_PNG

EXAMPLES: dict[type[BaseModel], dict[str, Any]] = {
    InputTensor: {"name": "image", "datatype": "BYTES", "shape": [1], "data": [EXAMPLE_PNG]},
    RequestedOutput: {"name": "probabilities"},
    OutputTensor: {"name": "probabilities", "datatype": "FP32", "shape": [1, 3], "data": [0.93, 0.05, 0.02]},
    TensorMetadata: {"name": "image", "datatype": "BYTES", "shape": [-1]},
    ModelReady: {"name": "mobilenet"},
    ModelMetadata: {"name": "mobilenet", "versions": ["0.5@160"], "platform": "litert"},
    ServerMetadata: {"name": "mobilenet-service", "extensions": ["binary_tensor_data", "classification"]},
    InferenceResponse: {"model_name": "mobilenet", "model_version": "0.5@160"},
}
DESCRIBED: tuple[type[BaseModel], ...] = (
    InputTensor,
    OutputParameters,
    RequestParameters,
    InferenceRequest,
    RequestedOutput,
    BinarySize,
    AnswerParameters,
)
NEED_NONE = {"parameters"}


@pytest.mark.parametrize("model", EXAMPLES)
def test_examples_are_what_the_service_would_take_or_answer(model: type[BaseModel]) -> None:
    properties = model.model_json_schema()["properties"]
    for name, example in EXAMPLES[model].items():
        assert properties[name]["examples"] == [example], name


@pytest.mark.parametrize("model", DESCRIBED)
def test_every_member_is_described(model: type[BaseModel]) -> None:
    undescribed = {name for name, field in model.model_fields.items() if not field.description}
    assert undescribed <= NEED_NONE


def test_members_that_may_be_left_out_have_the_defaults_of_the_protocol() -> None:
    tensor = InputTensor(name="image", datatype="BYTES", shape=[1])
    request = InferenceRequest(inputs=[tensor])
    assert (tensor.data, tensor.parameters.binary_data_size) == (None, None)
    assert (request.id, request.outputs, request.parameters.binary_data_output) == (None, [], False)
    assert OutputParameters().model_dump() == {
        "binary_data": None,
        "classification": None,
        "shared_memory_region": None,
    }


def test_bodies_are_json_or_bytes_and_the_example_is_a_request() -> None:
    body: dict[str, Any] = INFER_BODY["requestBody"]
    assert body["required"] is True
    for content in (body["content"], INFER_ANSWER[200]["content"]):
        assert content["application/octet-stream"]["schema"] == {"type": "string", "format": "binary"}
    (example,) = body["content"]["application/json"]["examples"].values()
    (wanted,) = InferenceRequest.model_validate(example["value"]).outputs
    assert (wanted.name, wanted.parameters.classification) == ("probabilities", 3)
    schema = body["content"]["application/json"]["schema"]
    assert "$ref" not in str(schema)
    assert set(schema["properties"]["inputs"]["items"]["properties"]) == set(InputTensor.model_fields)


@pytest.mark.parametrize(
    ("path", "examples"),
    [
        ("/v2/models/{name}/versions/{version}/infer", {"name": "mobilenet", "version": "0.5@160"}),
        ("/v2/models/{name}", {"name": "mobilenet"}),
        ("/v2", {}),
    ],
)
def test_the_parameters_of_a_path_are_those_in_it(path: str, examples: dict[str, str]) -> None:
    parameters = path_parameters(path)["parameters"]
    assert {one["name"]: one["example"] for one in parameters} == examples
    for one in parameters:
        assert one.items() >= {"in": "path", "required": True, "schema": {"type": "string"}}.items()
        assert one["description"]
