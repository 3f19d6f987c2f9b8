"""Reads and writes the tensors of the Open Inference Protocol, in JSON or as raw bytes after the JSON.

As raw bytes, each element of a BYTES tensor follows its length, which is 4 little-endian bytes. A UINT8 or FP32 tensor
is the sequence of its values, little-endian, with the last axis varying fastest.
"""

from codecs import BOM_UTF8
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from app.api.multipart import too_many
from app.api.payload import check_values
from app.api.problems import invalid
from app.engines.base import Pixels, Probabilities
from app.errors import InvalidParameter, MalformedRequest
from app.model.evidence import Embedding
from app.model.labels import Labels, top_k
from app.model.model import Model
from app.oip.schemas import BinarySize, InferenceRequest, InputTensor, OutputTensor, RequestedOutput
from app.runtime.pipeline import Payload

IMAGE, PIXELS = "image", "pixels"
PROBABILITIES, EMBEDDING = "probabilities", "embedding"
SHARED_MEMORY = "shared_memory_region"
"""The parameter of an input whose data are in memory that the client shares, as Triton's clients name it."""
LENGTH = 4
"""How many bytes the length of an element of a BYTES tensor takes."""


@dataclass(frozen=True, slots=True)
class OutputForm:
    """The form of an output that a request asks for.

    `k` is the number of most probable classes to answer, or None for all probabilities. `binary` says whether the
    output follows the JSON as raw bytes.
    """

    k: int | None
    binary: bool
    name: str = PROBABILITIES


@dataclass(frozen=True, slots=True)
class Inference:
    """The content of a request: its id if it has one, its images, not decoded yet, and the forms of the outputs."""

    id: str | None
    images: list[Payload]
    wanted: list[OutputForm]

    @property
    def embedding(self) -> bool:
        """Whether embeddings are wanted."""
        return any(form.name == EMBEDDING for form in self.wanted)


def read(body: bytes, json_bytes: int | None, model: Model, max_images: int) -> Inference:
    """Read the body of a request with 1 to `max_images` images.

    `json_bytes` is the length of the JSON at the start of the body; None if the whole body is JSON. Raises
    `MalformedRequest`, `TooManyImages`, `InvalidParameter`, or `BodyTooLarge` if the JSON has more values or lists than
    the pixels of so many images.
    """
    size = len(body) if json_bytes is None else json_bytes
    if size > len(body):
        raise MalformedRequest(f"Inference-Header-Content-Length is {size}, but the body has {len(body)} bytes")
    side = model.variant.resolution
    # Nested as the shape says, an image is a list of rows, which are lists of pixels, which are lists of three values.
    check_values(body[:size], max_images * side**2 * 3, max_images * (1 + side + side**2))
    request = valid(InferenceRequest.model_validate_json, body[:size].removeprefix(BOM_UTF8))
    return interpret(request, memoryview(body)[size:], model, max_images)


def valid(validate: Callable[[Any], InferenceRequest], given: object) -> InferenceRequest:
    """Return what pydantic makes of a request. Raises `MalformedRequest` with the first thing that is wrong."""
    try:
        return validate(given)
    except ValidationError as exc:
        raise MalformedRequest(invalid(exc.errors()[0]).detail) from exc


def interpret(request: InferenceRequest, rest: memoryview, model: Model, max_images: int) -> Inference:
    """Return the content of a request; `rest` has the raw bytes of its tensor, or none.

    Raises `MalformedRequest`, `TooManyImages` or `InvalidParameter`.
    """
    resolution = model.variant.resolution
    wanted = _wanted(request, model)
    (tensor,) = request.inputs
    count = _count(tensor, resolution)
    if count > max_images:
        raise too_many(max_images + 1, max_images)
    raw = _raw(tensor, rest)
    images = _files(tensor, raw, count) if tensor.name == IMAGE else _pixels(tensor, raw, resolution)
    return Inference(request.id, images, wanted)


def _wanted(request: InferenceRequest, model: Model) -> list[OutputForm]:
    forms = [_form(output, request, model) for output in request.outputs or [RequestedOutput(name=PROBABILITIES)]]
    if len({form.name for form in forms}) < len(forms):
        raise MalformedRequest(f"outputs: {forms[0].name} is there twice; each output may be asked for once")
    return forms


def _form(output: RequestedOutput, request: InferenceRequest, model: Model) -> OutputForm:
    given = outputs(model)
    if output.name not in given:
        raise MalformedRequest(f"there is no output {output.name[:80]!r}; outputs are {' and '.join(given)}")
    if output.parameters.shared_memory_region is not None:
        raise no_shared_memory(output.name)
    k, classes = output.parameters.classification, model.engine.classes
    if k is not None and output.name != PROBABILITIES:
        raise InvalidParameter(f"classification is allowed for {PROBABILITIES} alone, not for {output.name}")
    if k is not None and not 1 <= k <= classes:
        raise InvalidParameter(f"classification {k} is not between 1 and {classes}, the number of classes")
    binary = output.parameters.binary_data
    return OutputForm(k, request.parameters.binary_data_output if binary is None else binary, output.name)


def outputs(model: Model) -> dict[str, int]:
    """Return the outputs of a model, each with how many numbers it has for one image."""
    embedding = {EMBEDDING: model.channels} if model.channels else {}
    return {PROBABILITIES: model.engine.classes, **embedding}


def _count(tensor: InputTensor, resolution: int) -> int:
    """Return the number of images by the shape of the tensor, 1 or more."""
    forms = {IMAGE: ("BYTES", [[], [1]]), PIXELS: ("UINT8", [[resolution, resolution, 3]])}
    if tensor.name not in forms:
        raise MalformedRequest(f"there is no input {tensor.name[:80]!r}; {IMAGE} and {PIXELS} are the inputs")
    datatype, sizes = forms[tensor.name]
    if tensor.datatype != datatype:
        raise MalformedRequest(f"the datatype of {tensor.name} must be {datatype}, not {tensor.datatype[:80]!r}")
    if not tensor.shape or tensor.shape[0] < 1 or tensor.shape[1:] not in sizes:
        allowed = " or ".join(f"[{', '.join(map(str, ['n', *size]))}]" for size in sizes)
        raise MalformedRequest(f"the shape of {tensor.name} must be {allowed}, with n at least 1")
    return tensor.shape[0]


def _raw(tensor: InputTensor, rest: memoryview) -> memoryview | None:
    """Return the raw bytes of a tensor that follow the JSON; None if its data are in the JSON."""
    if tensor.parameters.shared_memory_region is not None:
        raise no_shared_memory(tensor.name)
    size = tensor.parameters.binary_data_size
    if (size is None) == (tensor.data is None):
        raise MalformedRequest(f"{tensor.name} needs either data or the parameter binary_data_size")
    if (size or 0) != len(rest):
        raise MalformedRequest(f"{len(rest)} bytes follow the JSON, but {tensor.name} says that it has {size or 0}")
    return None if size is None else rest


def no_shared_memory(name: str) -> MalformedRequest:
    """Return the error of an input or output whose data the client has in its memory, or wants there."""
    return MalformedRequest(f"shared memory is not supported; requests and responses have the data of {name[:80]}")


def _files(tensor: InputTensor, raw: memoryview | None, count: int) -> list[Payload]:
    files: list[Any] = _flat(tensor) if raw is None else list(islice(split(raw), count + 1))
    if len(files) != count:
        raise MalformedRequest(f"{IMAGE} does not have the {count} elements that its shape says")
    if raw is None and not all(isinstance(file, str | bytes) for file in files):  # JSON has no bytes, gRPC has
        raise MalformedRequest(f"the data of {IMAGE} must be strings: image files in base64")
    return files


def _pixels(tensor: InputTensor, raw: memoryview | None, resolution: int) -> list[Payload]:
    values = np.frombuffer(_bytes(_flat(tensor)) if raw is None else raw, np.uint8)
    if len(values) != tensor.shape[0] * resolution**2 * 3:
        raise MalformedRequest(f"{PIXELS} has {len(values):,} values, which does not match its shape {tensor.shape}")
    images: Pixels = values.reshape(tensor.shape)
    return list(images)


def _bytes(values: list[Any]) -> bytes:
    try:
        if set(map(type, values)) <= {int}:  # neither bool, which Python takes for an integer, nor anything else
            return bytes(values)
    except ValueError:
        pass
    raise MalformedRequest(f"the data of {PIXELS} must be integers from 0 to 255")


def _flat(tensor: InputTensor) -> list[Any]:
    """Return the values of a tensor. The protocol allows a flat list of them, or lists nested as the shape says."""
    data = tensor.data or []
    if not data or not isinstance(data[0], list):
        return data
    parts: list[Any] = [data]
    for size in tensor.shape:
        if set(map(type, parts)) != {list} or set(map(len, parts)) != {size}:
            raise _nested(tensor)
        parts = list(chain.from_iterable(parts))
    if isinstance(parts[0], list):
        raise _nested(tensor)
    return parts


def _nested(tensor: InputTensor) -> MalformedRequest:
    detail = f"the data of {tensor.name} are not nested as its shape {tensor.shape} says; nest them so"
    return MalformedRequest(f"{detail}, or send a flat list")


def split(raw: memoryview) -> Iterator[bytes]:
    """Yield the elements of a BYTES tensor. Raises `MalformedRequest` if an element is longer than what is left."""
    at = 0
    while at < len(raw):
        start = at + LENGTH
        end = start + int.from_bytes(raw[at:start], "little")
        if end > len(raw):
            raise MalformedRequest(f"an element of a BYTES tensor would end at byte {end}, but there are {len(raw)}")
        yield bytes(raw[start:end])
        at = end


def joined(elements: Iterable[bytes]) -> bytes:
    """Return these elements as a BYTES tensor in raw bytes."""
    return b"".join(len(element).to_bytes(LENGTH, "little") + element for element in elements)


def answer(rows: Sequence[Probabilities | Embedding], wanted: OutputForm, labels: Labels) -> tuple[OutputTensor, bytes]:
    """Return an output for the probabilities `[classes]`, or the embeddings, of one or more images, and its raw bytes.

    There are no bytes unless `wanted.binary` is set.
    """
    if wanted.k is not None:
        return _texts([_classes(row, wanted.k, labels) for row in rows], wanted.binary)
    return _numbers(wanted.name, np.stack(rows), wanted.binary)


def _classes(row: Probabilities, k: int, labels: Labels) -> list[str]:
    return [f"{probability:.7g}:{index}:{labels[index].label}" for index, probability in top_k(row, k)]


def _texts(rows: list[list[str]], binary: bool) -> tuple[OutputTensor, bytes]:
    texts = list(chain.from_iterable(rows))
    raw = joined(text.encode() for text in texts) if binary else b""
    return _output(PROBABILITIES, "BYTES", [len(rows), len(rows[0])], None if binary else texts, raw)


def _numbers(name: str, rows: NDArray[np.float32], binary: bool) -> tuple[OutputTensor, bytes]:
    raw = rows.astype("<f4").tobytes() if binary else b""
    # Nine significant digits are enough to tell every float32 from its neighbours.
    data = None if binary else [float(f"{value:.9g}") for value in rows.ravel()]
    return _output(name, "FP32", list(rows.shape), data, raw)


def _output(
    name: str, datatype: str, shape: list[int], data: list[float] | list[str] | None, raw: bytes
) -> tuple[OutputTensor, bytes]:
    size = BinarySize(binary_data_size=len(raw)) if data is None else None
    return OutputTensor(name=name, datatype=datatype, shape=shape, parameters=size, data=data), raw
