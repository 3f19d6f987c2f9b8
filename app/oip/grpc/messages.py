"""The messages of the protocol, and what they are in the service: `Inference`, and the models of `schemas`."""

from collections.abc import Sequence
from typing import Any, TypeVar

from google.protobuf.message import DecodeError, Message

from app.errors import BodyTooLarge, MalformedRequest
from app.model.model import Model
from app.oip import tensors
from app.oip.grpc import inference_pb2 as pb
from app.oip.schemas import InferenceRequest, InferenceResponse, OutputTensor
from app.oip.tensors import Inference

M = TypeVar("M", bound=Message)

MOST_DIMENSIONS = 8
"""A shape with more is wrong, and is not read to its end."""
CONTENTS = {tensors.IMAGE: "bytes_contents", tensors.PIXELS: "uint_contents"}
"""Where an input has its data, unless they are raw bytes."""


def parse(kind: type[M], body: bytes) -> M:
    """Return the message that the bytes are. Raises `MalformedRequest`."""
    try:
        return kind.FromString(body)
    except DecodeError as exc:
        raise MalformedRequest(f"the message is not a {kind.DESCRIPTOR.name}: {exc}") from exc


def read(request: pb.ModelInferRequest, model: Model, max_images: int) -> Inference:
    """Return the content of a request with 1 to `max_images` images.

    Outputs are answered as raw bytes if the input came so. Raises what `tensors.interpret` does, or `BodyTooLarge` for
    more values than so many images have: in lists each takes many times its size, while nobody else is served.
    """
    raws = request.raw_input_contents
    if raws and len(raws) != len(request.inputs):
        raise MalformedRequest(f"there are {len(request.inputs)} inputs and {len(raws)} raw_input_contents")
    raw = raws[0] if raws else None
    most_values = max_images * model.variant.resolution**2 * 3
    members = {
        "id": request.id or None,
        "parameters": {"binary_data_output": raw is not None},
        "inputs": [_input(tensor, raw, most_values) for tensor in request.inputs[:2]],  # more than one is refused
        "outputs": [_output(wanted) for wanted in request.outputs],
    }
    wanted = tensors.valid(InferenceRequest.model_validate, members)
    return tensors.interpret(wanted, memoryview(raw or b""), model, max_images)


def _input(tensor: pb.ModelInferRequest.InferInputTensor, raw: bytes | None, most_values: int) -> dict[str, Any]:
    if tensors.SHARED_MEMORY in tensor.parameters:
        raise tensors.no_shared_memory(tensor.name)
    about = {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape[:MOST_DIMENSIONS])}
    given = [field.name for field, _ in tensor.contents.ListFields()]
    if raw is not None:
        if given:
            raise MalformedRequest(f"{tensor.name[:80]} has both {given[0]} and raw_input_contents")
        return about | {"parameters": {"binary_data_size": len(raw)}}
    expected = CONTENTS.get(tensor.name)
    if expected and given != [expected]:
        raise MalformedRequest(f"the data of {tensor.name} must be in {expected} or in raw_input_contents")
    values = getattr(tensor.contents, expected) if expected else []
    if len(values) > most_values:
        raise BodyTooLarge(f"{tensor.name} has {len(values):,} values, and {most_values:,} are the most")
    return about | {"data": list(values)}


def _output(wanted: pb.ModelInferRequest.InferRequestedOutputTensor) -> dict[str, Any]:
    if tensors.SHARED_MEMORY in wanted.parameters:
        raise tensors.no_shared_memory(wanted.name)
    given = wanted.parameters.get("classification")
    choice = given and given.WhichOneof("parameter_choice")
    return {"name": wanted.name, "parameters": {"classification": getattr(given, choice) if choice else None}}


def answer(said: InferenceResponse, raw: Sequence[bytes]) -> pb.ModelInferResponse:
    """Return the message of an answer; `raw` has the bytes of the outputs whose data it lacks."""
    costs = said.parameters.model_dump().items()
    return pb.ModelInferResponse(
        model_name=said.model_name,
        model_version=said.model_version,
        id=said.id,
        parameters={name: pb.InferParameter(int64_param=value) for name, value in costs},
        outputs=map(_tensor, said.outputs),
        raw_output_contents=raw if any(raw) else [],
    )


def _tensor(output: OutputTensor) -> pb.ModelInferResponse.InferOutputTensor:
    about = pb.ModelInferResponse.InferOutputTensor(name=output.name, datatype=output.datatype, shape=output.shape)
    if output.data is not None and output.datatype == "BYTES":
        about.contents.bytes_contents.extend(str(text).encode() for text in output.data)
    elif output.data is not None:
        about.contents.fp32_contents.extend(map(float, output.data))
    return about
