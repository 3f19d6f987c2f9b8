"""The JSON of the Open Inference Protocol: what the routes below `/v2` take and answer, and their OpenAPI."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from app.api.openapi import IMAGES_ERRORS, RAW, Responses
from app.errors import EmptyImage, NotFound, ServiceError
from app.schemas import EXAMPLE_PNG, optional

MODEL = "mobilenet"
"""The name of the served model in this protocol."""

Shape = Annotated[list[int], Field(fail_fast=True)]


class Given(BaseModel):
    """JSON that a client sends. Unknown members are ignored, as the protocol demands."""

    model_config = ConfigDict(strict=True)


class InputParameters(Given):
    """Where the data of an input are."""

    binary_data_size: int | None = Field(
        None, ge=0, description="length of this tensor in bytes, if it follows the JSON as raw bytes"
    )
    shared_memory_region: Any = Field(None, description="not supported: an input that names one is refused")


class InputTensor(Given):
    """The images of a request."""

    name: str = Field(description="`image` or `pixels`", examples=["image"])
    datatype: str = Field(description="BYTES for `image`, UINT8 for `pixels`", examples=["BYTES"])
    shape: Shape = Field(description="[n] or [n, 1] for `image`, [n, r, r, 3] for `pixels`", examples=[[1]])
    parameters: InputParameters = InputParameters()
    data: list[Any] | None = Field(
        None,
        description="image files in base64, or pixels from 0 to 255, as a flat or a nested list; absent with "
        "`binary_data_size`",
        examples=[[EXAMPLE_PNG]],
    )


class OutputParameters(Given):
    """The form in which the client wants the data of an output."""

    binary_data: bool | None = Field(None, description="true: as raw bytes after the JSON; false: in the JSON")
    classification: int | None = Field(
        None, description="answer with the k most probable classes of each image, as `probability:index:label`"
    )
    shared_memory_region: Any = Field(None, description="not supported: an output that names one is refused")


class RequestedOutput(Given):
    """An output that the client wants."""

    name: str = Field(description="`probabilities` or `embedding`", examples=["probabilities"])
    parameters: OutputParameters = OutputParameters()


class RequestParameters(Given):
    """What holds for every output of the request."""

    binary_data_output: bool = Field(
        False, description="true: outputs follow the JSON as raw bytes, unless an output says otherwise"
    )


class InferenceRequest(Given):
    """The body of `infer` in JSON."""

    id: str | None = Field(
        None, description="repeated in the answer; without it the answer has the service's request id", examples=["42"]
    )
    parameters: RequestParameters = RequestParameters()
    inputs: list[InputTensor] = Field(min_length=1, max_length=1, description="exactly one tensor")
    outputs: list[RequestedOutput] = Field(
        [], max_length=2, description="which outputs to answer, in this order; `probabilities` if the list is empty"
    )


class BinarySize(BaseModel):
    """The length of an output that follows the JSON."""

    binary_data_size: int = Field(ge=0, description="length of this tensor in bytes, after the JSON")


class OutputTensor(BaseModel):
    """A result: probabilities, the most probable classes, or embeddings."""

    name: str = Field(examples=["probabilities"])
    datatype: str = Field(description="FP32, or BYTES for a classification", examples=["FP32"])
    shape: Shape = Field(description="[n, classes], [n, k] for a classification, or [n, 1024 · α]", examples=[[1, 3]])
    parameters: BinarySize | None = optional()
    data: list[float] | list[str] | None = optional(examples=[[0.93, 0.05, 0.02]])


class AnswerParameters(BaseModel):
    """What the answer cost."""

    macs: int = Field(description="multiply-accumulates of the network for one image")
    batch_size: int = Field(ge=0, description="the size of the largest batch that an image of this request was in")


class InferenceResponse(BaseModel):
    """The answer of `infer`."""

    model_config = ConfigDict(protected_namespaces=())

    model_name: str = Field(examples=[MODEL])
    model_version: str = Field(description="α@resolution", examples=["0.5@160"])
    id: str
    parameters: AnswerParameters
    outputs: list[OutputTensor]


class TensorMetadata(BaseModel):
    """One input or output of the model; -1 in a shape stands for any size."""

    name: str = Field(examples=["image"])
    datatype: str = Field(examples=["BYTES"])
    shape: Shape = Field(examples=[[-1]])


class ModelMetadata(BaseModel):
    """The tensors that the model takes and answers. A request has exactly one of the inputs."""

    name: str = Field(examples=[MODEL])
    versions: list[str] = Field(description="α@resolution", examples=[["0.5@160"]])
    platform: str = Field(description="the engine that runs the model", examples=["litert"])
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class ServerMetadata(BaseModel):
    """The name and version of the server, and the extensions of the protocol that it supports."""

    name: str = Field(examples=["mobilenet-service"])
    version: str = Field(examples=["0.1.0"])
    extensions: list[str] = Field(examples=[["binary_tensor_data", "classification"]])


class Live(BaseModel):
    """Whether the process is alive."""

    live: bool


class Ready(BaseModel):
    """Whether the service is ready to classify."""

    ready: bool


class ModelReady(Ready):
    """Whether the model is ready to classify."""

    name: str = Field(examples=[MODEL])


def _inlined(schema: Any, definitions: Any) -> Any:
    """Return a schema with its definitions in place of references, which would be dangling in a larger document."""
    if isinstance(schema, list):
        return [_inlined(part, definitions) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        schema = definitions[schema["$ref"].rpartition("/")[2]] | schema
    return {name: _inlined(part, definitions) for name, part in schema.items() if name not in ("$ref", "$defs")}


_INFERENCE = InferenceRequest.model_json_schema()
INFER_BODY = {
    "requestBody": {
        "required": True,
        "description": "JSON; or JSON followed by the tensor as raw bytes, where the header "
        "`Inference-Header-Content-Length` is the length of the JSON.",
        "content": {
            "application/json": {
                "schema": _inlined(_INFERENCE, _INFERENCE["$defs"]),
                "examples": {
                    "file": {
                        "summary": "an image file, whose three most probable classes are wanted",
                        "value": {
                            "inputs": [{"name": "image", "datatype": "BYTES", "shape": [1], "data": [EXAMPLE_PNG]}],
                            "outputs": [{"name": "probabilities", "parameters": {"classification": 3}}],
                        },
                    }
                },
            },
            "application/octet-stream": RAW,
        },
    }
}

INFER_ANSWER: Responses = {
    200: {
        "description": "the output, in the JSON or as raw bytes after it",
        "content": {"application/octet-stream": RAW},
    }
}
INFER_ERRORS: tuple[type[ServiceError] | ServiceError, ...] = (
    *(error for error in IMAGES_ERRORS if error is not EmptyImage),
    EmptyImage("the image is empty: it has 0 bytes"),
    NotFound,
)

_PATH_PARAMETERS = {
    "name": ("the name of the model", MODEL),
    "version": ("a loaded variant, as α@resolution", "0.5@160"),
}


def path_parameters(path: str) -> dict[str, Any]:
    """Return the OpenAPI of the parameters in a path of the Open Inference Protocol."""
    given = {"in": "path", "required": True, "schema": {"type": "string"}}
    described = [
        {"name": name, "description": description, "example": example, **given}
        for name, (description, example) in _PATH_PARAMETERS.items()
        if f"{{{name}}}" in path
    ]
    return {"parameters": described}
