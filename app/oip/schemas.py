"""The wire contract of the Open Inference Protocol: what the routes below `/v2` take and give, and its OpenAPI."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from app.schemas import EXAMPLE_PNG

MODEL = "mobilenet"
"""The name that the served model has in this protocol."""

Shape = Annotated[list[int], Field(fail_fast=True)]


def _is_none(value: object) -> bool:
    return value is None


class Given(BaseModel):
    """What a client sends; a member that nobody knows is ignored, as the protocol wants."""

    model_config = ConfigDict(strict=True)


class InputParameters(Given):
    """How the data of an input come."""

    binary_data_size: int | None = Field(None, ge=0, description="bytes of this tensor, after the JSON")


class InputTensor(Given):
    """The images of a request."""

    name: str = Field(description="`image` or `pixels`", examples=["image"])
    datatype: str = Field(description="BYTES of `image`, UINT8 of `pixels`", examples=["BYTES"])
    shape: Shape = Field(description="[n] or [n, 1] of `image`, [n, r, r, 3] of `pixels`", examples=[[1]])
    parameters: InputParameters = InputParameters()
    data: list[Any] | None = Field(
        None,
        description="files in base64, or pixels 0 to 255, flat or nested; absent with `binary_data_size`",
        examples=[[EXAMPLE_PNG]],
    )


class OutputParameters(Given):
    """How the data of an output are wanted."""

    binary_data: bool | None = Field(None, description="after the JSON, and not in it")
    classification: int | None = Field(
        None, description="answer the k most probable classes of each image instead, as `probability:index:label`"
    )


class RequestedOutput(Given):
    """An output that is wanted."""

    name: str = Field(description="`probabilities`", examples=["probabilities"])
    parameters: OutputParameters = OutputParameters()


class RequestParameters(Given):
    """What holds for all outputs."""

    binary_data_output: bool = Field(False, description="outputs come after the JSON unless they say otherwise")


class InferenceRequest(Given):
    """What `infer` takes."""

    id: str | None = Field(None, description="is in the answer; without it that is the request's id", examples=["42"])
    parameters: RequestParameters = RequestParameters()
    inputs: list[InputTensor] = Field(min_length=1, max_length=1, description="one tensor")
    outputs: list[RequestedOutput] = Field([], max_length=1, description="`probabilities`, also if there are none")


class BinarySize(BaseModel):
    """Where the data of an output are."""

    binary_data_size: int = Field(ge=0, description="bytes of this tensor, after the JSON")


class OutputTensor(BaseModel):
    """The result."""

    name: str = Field(examples=["probabilities"])
    datatype: str = Field(description="FP32, or BYTES of a classification", examples=["FP32"])
    shape: Shape = Field(description="[n, classes], or [n, k] of a classification", examples=[[1, 3]])
    parameters: BinarySize | None = Field(None, exclude_if=_is_none)
    data: list[float] | list[str] | None = Field(None, exclude_if=_is_none, examples=[[0.93, 0.05, 0.02]])


class AnswerParameters(BaseModel):
    """What the answer cost."""

    macs: int = Field(description="multiply-accumulates of the network for one image")
    batch_size: int = Field(ge=0, description="images in the largest batch that an image of this request ran in")


class InferenceResponse(BaseModel):
    """What `infer` answers."""

    model_config = ConfigDict(protected_namespaces=())

    model_name: str = Field(examples=[MODEL])
    model_version: str = Field(description="α@resolution", examples=["0.5@160"])
    id: str
    parameters: AnswerParameters
    outputs: list[OutputTensor]


class TensorMetadata(BaseModel):
    """One input or output; -1 is any size."""

    name: str = Field(examples=["image"])
    datatype: str = Field(examples=["BYTES"])
    shape: Shape = Field(examples=[[-1]])


class ModelMetadata(BaseModel):
    """What the served model takes and gives; a request has one of the inputs."""

    name: str = Field(examples=[MODEL])
    versions: list[str] = Field(description="α@resolution", examples=[["0.5@160"]])
    platform: str = Field(description="the engine", examples=["litert"])
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class ServerMetadata(BaseModel):
    """What serves, and which extensions of the protocol it knows."""

    name: str = Field(examples=["mobilenet-service"])
    version: str = Field(examples=["0.1.0"])
    extensions: list[str] = Field(examples=[["binary_tensor_data", "classification"]])


class Live(BaseModel):
    """Whether the process is alive."""

    live: bool


class Ready(BaseModel):
    """Whether the service answers."""

    ready: bool


class ModelReady(Ready):
    """Whether the model answers."""

    name: str = Field(examples=[MODEL])


def _inlined(schema: Any, definitions: Any) -> Any:
    """Return a schema without references: those of pydantic lead nowhere within a larger document."""
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
        "description": "JSON, or as many bytes of it as `Inference-Header-Content-Length` says and then the tensor.",
        "content": {
            "application/json": {
                "schema": _inlined(_INFERENCE, _INFERENCE["$defs"]),
                "examples": {
                    "file": {
                        "summary": "an image file, and its three most probable classes",
                        "value": {
                            "inputs": [{"name": "image", "datatype": "BYTES", "shape": [1], "data": [EXAMPLE_PNG]}],
                            "outputs": [{"name": "probabilities", "parameters": {"classification": 3}}],
                        },
                    }
                },
            },
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}

INFER_ANSWER: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "the output, in JSON or as raw bytes after it",
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}

_PATH_PARAMETERS = {"name": ("of the model", MODEL), "version": ("α@resolution of a loaded variant", "0.5@160")}


def path_parameters(path: str) -> dict[str, Any]:
    """Describe the parameters of a path of the Open Inference Protocol."""
    given = {"in": "path", "required": True, "schema": {"type": "string"}}
    described = [
        {"name": name, "description": description, "example": example, **given}
        for name, (description, example) in _PATH_PARAMETERS.items()
        if f"{{{name}}}" in path
    ]
    return {"parameters": described}
