"""Messages and what they are in the service: either form of a tensor gives the same, and what is wrong is named."""

from typing import Any

import numpy as np
import pytest

from app.errors import BodyTooLarge, InvalidParameter, MalformedRequest, ServiceError, TooManyImages
from app.oip import tensors
from app.oip.grpc import inference_pb2 as pb
from app.oip.grpc import messages
from app.oip.schemas import AnswerParameters, InferenceResponse
from app.oip.tensors import Inference, OutputForm
from tests.support.fakes import COLOURS, colour_model, mosaic_model
from tests.support.grpc import Tensor, classification, raw_files, typed_files

MODEL = colour_model()
SIDE = MODEL.variant.resolution
FILES = (b"one", b"", b"three")
PIXELS = np.arange(2 * SIDE * SIDE * 3, dtype=np.uint32).reshape(2, SIDE, SIDE, 3) % 256


def read(request: pb.ModelInferRequest) -> Inference:
    return messages.read(request, MODEL, max_images=4)


def pixels(shape: tuple[int, ...] = PIXELS.shape, values: Any = None, raw: bytes | None = None) -> pb.ModelInferRequest:
    tensor = Tensor(name="pixels", datatype="UINT8", shape=shape)
    if raw is not None:
        return pb.ModelInferRequest(inputs=[tensor], raw_input_contents=[raw])
    tensor.contents.uint_contents.extend(PIXELS.ravel().tolist() if values is None else values)
    return pb.ModelInferRequest(inputs=[tensor])


def changed(request: pb.ModelInferRequest, **change: Any) -> pb.ModelInferRequest:
    tensor = request.inputs[0]
    for name, value in change.items():
        tensor.ClearField(name)
        tensor.MergeFrom(Tensor(**{name: value}))
    return request


def test_files_are_the_same_as_raw_bytes_and_as_elements() -> None:
    for request in (raw_files(*FILES), typed_files(*FILES), changed(typed_files(*FILES), shape=[3, 1])):
        assert read(request).images == list(FILES)


def test_pixels_are_the_same_as_raw_bytes_and_as_numbers() -> None:
    for request in (pixels(), pixels(raw=PIXELS.astype(np.uint8).tobytes())):
        np.testing.assert_array_equal(np.stack(read(request).images), PIXELS)


def test_outputs_come_in_the_form_of_the_input() -> None:
    assert read(raw_files(*FILES)).wanted == [OutputForm(k=None, binary=True)]
    assert read(typed_files(*FILES)).wanted == [OutputForm(k=None, binary=False)]
    assert read(raw_files(*FILES, outputs=classification(2))).wanted == [OutputForm(k=2, binary=True)]


def test_an_id_that_is_empty_is_none() -> None:
    assert read(typed_files(*FILES)).id is None
    assert read(typed_files(*FILES, id="mine")).id == "mine"


def test_parameters_that_are_not_known_are_ignored() -> None:
    request = raw_files(*FILES, outputs=classification(2))
    request.parameters["priority"].uint64_param = 3
    request.outputs[0].parameters["empty"].CopyFrom(pb.InferParameter())
    assert read(request).wanted[0].k == 2


def sideways() -> pb.ModelInferRequest:
    request = typed_files(*FILES)
    request.inputs[0].contents.fp32_contents.append(1.0)
    return request


def shared() -> pb.ModelInferRequest:
    request = changed(typed_files(b"x"), contents=None)
    request.inputs[0].parameters["shared_memory_region"].string_param = "images"
    return request


def wanted_in_shared_memory() -> pb.ModelInferRequest:
    request = raw_files(*FILES, outputs=classification(2))
    request.outputs[0].parameters["shared_memory_region"].string_param = "answers"
    return request


def text_for_a_number() -> pb.ModelInferRequest:
    request = raw_files(*FILES, outputs=classification(2))
    request.outputs[0].parameters["classification"].string_param = "2"
    return request


@pytest.mark.parametrize(
    ("request_", "error", "says"),
    [
        (pb.ModelInferRequest(), MalformedRequest, "inputs"),
        (pb.ModelInferRequest(inputs=raw_files(b"x").inputs[:] * 2), MalformedRequest, "bytes_contents"),
        (pb.ModelInferRequest(inputs=typed_files(b"x").inputs[:] * 2), MalformedRequest, "inputs"),
        (pb.ModelInferRequest(raw_input_contents=[b"x"]), MalformedRequest, "0 inputs and 1 raw_input_contents"),
        (raw_files(b"x", raw_input_contents=[b"x", b"y"]), MalformedRequest, "1 inputs and 2 raw_input_contents"),
        (typed_files(b"x", raw_input_contents=[b"x"]), MalformedRequest, "both bytes_contents and raw_input_contents"),
        (sideways(), MalformedRequest, "must be in bytes_contents or in raw_input_contents"),
        (shared(), MalformedRequest, "shared memory is not supported; requests and responses have the data of image"),
        (wanted_in_shared_memory(), MalformedRequest, "shared memory is not supported"),
        (pixels(values=[]), MalformedRequest, "must be in uint_contents or in raw_input_contents"),
        (changed(typed_files(b"x"), name="picture"), MalformedRequest, "image and pixels are the inputs"),
        (changed(typed_files(b"x"), datatype="FP32"), MalformedRequest, "must be BYTES"),
        (changed(typed_files(b"x"), shape=[2]), MalformedRequest, "2 elements"),
        (changed(typed_files(b"x"), shape=[1] * 1000), MalformedRequest, "[n] or [n, 1]"),
        (changed(raw_files(b"x"), shape=[-1]), MalformedRequest, "n at least 1"),
        (raw_files(b"x", raw_input_contents=[b"\xff\xff\xff\xffx"]), MalformedRequest, "would end at byte"),
        (pixels(shape=(1, SIDE, SIDE, 4)), MalformedRequest, f"[n, {SIDE}, {SIDE}, 3]"),
        (pixels(shape=(1, SIDE, SIDE, 3)), MalformedRequest, "does not match its shape"),
        (pixels(values=[256]), MalformedRequest, "0 to 255"),
        (pixels(values=[0] * (4 * PIXELS[0].size + 1)), BodyTooLarge, "49,153 values, and 49,152 are the most"),
        (raw_files(*[b"x"] * 5), TooManyImages, "4 is the most"),
        (raw_files(b"x", outputs=classification(0)), InvalidParameter, "between 1 and"),
        (text_for_a_number(), MalformedRequest, "classification"),
    ],
)
def test_what_is_wrong_is_said_with_what_is_right(
    request_: pb.ModelInferRequest, error: type[ServiceError], says: str
) -> None:
    with pytest.raises(error) as caught:
        read(request_)
    assert says in caught.value.detail


def test_bytes_that_are_no_message_are_refused() -> None:
    with pytest.raises(MalformedRequest, match="ModelReadyRequest"):
        messages.parse(pb.ModelReadyRequest, b"\x0a\xff")


ROWS = np.array([[0.1, 0.2, 0.3, 0.1, 0.2, 0.1], [0.0, 1.0, 0.0, 0.0, 0.0, 0.0]], np.float32)


def answered(form: OutputForm) -> pb.ModelInferResponse:
    output, raw = tensors.answer(list(ROWS), form, MODEL.labels)
    parameters = AnswerParameters(macs=7, batch_size=2)
    said = InferenceResponse(
        model_name="mobilenet", model_version="1@224", id="mine", parameters=parameters, outputs=[output]
    )
    return messages.answer(said, [raw])


def test_probabilities_are_answered_to_the_bit_in_either_form() -> None:
    raw, typed = (answered(OutputForm(k=None, binary=binary)) for binary in (True, False))
    for found in (raw, typed):
        assert (found.model_name, found.model_version, found.id) == ("mobilenet", "1@224", "mine")
        assert {name: value.int64_param for name, value in found.parameters.items()} == {"macs": 7, "batch_size": 2}
        (output,) = found.outputs
        assert (output.name, output.datatype, list(output.shape)) == ("probabilities", "FP32", [2, len(COLOURS)])
    assert raw.raw_output_contents[0] == ROWS.tobytes()
    assert not raw.outputs[0].HasField("contents")
    assert not typed.raw_output_contents
    np.testing.assert_array_equal(np.array(typed.outputs[0].contents.fp32_contents, np.float32), ROWS.ravel())


def test_a_classification_is_text_in_either_form() -> None:
    raw, typed = (answered(OutputForm(k=1, binary=binary)) for binary in (True, False))
    texts = [b"0.3:2:blue", b"1:1:green"]
    assert list(typed.outputs[0].contents.bytes_contents) == texts
    assert list(tensors.split(memoryview(raw.raw_output_contents[0]))) == texts
    assert (raw.outputs[0].datatype, list(raw.outputs[0].shape)) == ("BYTES", [2, 1])


def test_embeddings_are_an_output_of_a_model_that_has_them() -> None:
    wanted = [pb.ModelInferRequest.InferRequestedOutputTensor(name="embedding")]
    assert messages.read(typed_files(b"x", outputs=wanted), mosaic_model(), 4).embedding
    with pytest.raises(MalformedRequest, match="outputs are probabilities"):
        read(typed_files(b"x", outputs=wanted))
