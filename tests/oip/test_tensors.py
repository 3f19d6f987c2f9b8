"""The wire format of tensors: what was sent is what is read, and what is no tensor is refused with a sentence."""

import base64
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.errors import BodyTooLarge, MalformedRequest, ServiceError
from app.oip import tensors
from app.oip.schemas import OutputTensor
from app.oip.tensors import Inference, OutputForm
from tests.support.fakes import COLOURS, colour_model

MODEL = colour_model()
SIDE = MODEL.variant.resolution
MOST = 4
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""How long an example takes says something of the machine alone."""
ELEMENTS = st.lists(st.binary(max_size=40), min_size=1, max_size=MOST)
PROBABILITIES = st.lists(
    st.lists(st.floats(0, 1, width=32), min_size=len(COLOURS), max_size=len(COLOURS)), min_size=1, max_size=MOST
)


def request(tensor: dict[str, Any], raw: bytes = b"", **rest: Any) -> tuple[bytes, int]:
    text = json.dumps({"inputs": [tensor], **rest}).encode()
    return text + raw, len(text)


def read_or_refused(body: bytes, json_bytes: int) -> Inference | ServiceError:
    try:
        return tensors.read(body, json_bytes, MODEL, MOST)
    except ServiceError as error:
        return error


def image(shape: list[int], **rest: Any) -> dict[str, Any]:
    return {"name": "image", "datatype": "BYTES", "shape": shape, **rest}


@unhurried
@given(ELEMENTS)
def test_elements_survive_the_way_there_and_back(elements: list[bytes]) -> None:
    assert list(tensors.split(memoryview(tensors.joined(elements)))) == elements


def test_a_length_is_four_little_endian_bytes() -> None:
    assert tensors.joined([b"ab", b"", b"\0" * 300]) == b"\2\0\0\0ab" + b"\0" * 4 + b"\x2c\1\0\0" + b"\0" * 300


@unhurried
@given(ELEMENTS)
def test_files_are_read_from_binary_as_they_were_sent(elements: list[bytes]) -> None:
    raw = tensors.joined(elements)
    body = request(image([len(elements)], parameters={"binary_data_size": len(raw)}), raw)
    assert tensors.read(*body, MODEL, MOST).images == elements


@unhurried
@given(ELEMENTS)
def test_files_are_read_from_json_as_they_were_sent(elements: list[bytes]) -> None:
    data = [base64.b64encode(element).decode() for element in elements]
    body, _ = request(image([len(elements), 1], data=data))
    assert tensors.read(body, None, MODEL, MOST).images == data


@pytest.mark.parametrize("count", [1, 2, MOST])
@pytest.mark.parametrize("binary", [True, False], ids=["binary", "json"])
def test_pixels_are_read_as_they_were_sent(count: int, binary: bool) -> None:
    pixels = np.random.default_rng(count).integers(0, 256, (count, SIDE, SIDE, 3), np.uint8)
    tensor: dict[str, Any] = {"name": "pixels", "datatype": "UINT8", "shape": list(pixels.shape)}
    tensor |= {"parameters": {"binary_data_size": pixels.size}} if binary else {"data": pixels.tolist()}
    body = request(tensor, pixels.tobytes() if binary else b"")
    found = tensors.read(*body, MODEL, MOST).images
    assert len(found) == count
    for one, other in zip(found, pixels, strict=True):
        assert isinstance(one, np.ndarray)
        assert np.array_equal(one, other)


@pytest.mark.parametrize("more", [-1, 1, SIDE * SIDE * 3], ids=str)
@pytest.mark.parametrize("binary", [True, False], ids=["binary", "json"])
def test_pixels_are_neither_more_nor_fewer_than_their_shape_says(more: int, binary: bool) -> None:
    raw = bytes(2 * SIDE * SIDE * 3 + more)
    tensor: dict[str, Any] = {"name": "pixels", "datatype": "UINT8", "shape": [2, SIDE, SIDE, 3]}
    tensor |= {"parameters": {"binary_data_size": len(raw)}} if binary else {"data": list(raw)}
    with pytest.raises(MalformedRequest, match=f"pixels has {len(raw):,} values, which does not match its shape"):
        tensors.read(*request(tensor, raw if binary else b""), MODEL, MOST)


ROWS = [[[[0] * 3] * SIDE] * SIDE] * 2


@pytest.mark.parametrize(
    "data",
    [
        np.zeros((2, 3, SIDE, SIDE), np.uint8).tolist(),
        np.zeros((SIDE, SIDE, 2, 3), np.uint8).tolist(),
        np.zeros((2, SIDE * SIDE * 3), np.uint8).tolist(),
        [ROWS],
        [ROWS[0] + ROWS[0], []],
        [ROWS[0], [*ROWS[0][1:], [[0] * 3] * (SIDE - 1) + [[0]]]],
        [ROWS[0], [*ROWS[0][1:], 0]],
        [ROWS[0], [*ROWS[0][1:], "x" * SIDE]],
    ],
    ids=["channels first", "images last", "half flat", "too deep", "uneven", "a short pixel", "a number", "a text"],
)
def test_nested_pixels_whose_lists_contradict_the_shape_are_refused_though_the_number_of_values_may_be_right(
    data: list[Any],
) -> None:
    tensor = {"name": "pixels", "datatype": "UINT8", "shape": [2, SIDE, SIDE, 3], "data": data}
    with pytest.raises(
        MalformedRequest, match=r"pixels are not nested as its shape \[2, \d+, \d+, 3\] says; .*flat list"
    ):
        tensors.read(*request(tensor), MODEL, MOST)


def test_files_may_be_flat_or_nested_as_the_shape_says_and_in_no_other_way() -> None:
    for shape, data in (([2], ["a", "b"]), ([2, 1], ["a", "b"]), ([2, 1], [["a"], ["b"]])):
        assert tensors.read(*request(image(shape, data=data)), MODEL, MOST).images == ["a", "b"]
    for shape, data in (([2], [["a"], ["b"]]), ([2, 1], [["a", "b"]]), ([2, 1], [["a", "b"], []])):
        with pytest.raises(MalformedRequest, match=r"image are not nested as its shape \[2"):
            tensors.read(*request(image(shape, data=data)), MODEL, MOST)


@pytest.mark.parametrize("wrong", [True, False, 1.0, None, 256, -1, 10**40, "x"], ids=str)
def test_pixels_are_integers_from_0_to_255_and_nothing_that_python_takes_for_one(wrong: object) -> None:
    data = [wrong, *[0] * (SIDE * SIDE * 3 - 1)]
    tensor = {"name": "pixels", "datatype": "UINT8", "shape": [1, SIDE, SIDE, 3], "data": data}
    with pytest.raises(MalformedRequest, match="integers from 0 to 255"):
        tensors.read(*request(tensor), MODEL, MOST)


@unhurried
@given(st.binary(max_size=60), st.integers(1, MOST))
def test_bytes_that_are_no_elements_are_refused_and_others_read(raw: bytes, count: int) -> None:
    body = request(image([count], parameters={"binary_data_size": len(raw)}), raw)
    outcome = read_or_refused(*body)
    if isinstance(outcome, Inference):
        assert len(outcome.images) == count
        assert tensors.joined(element for element in outcome.images if isinstance(element, bytes)) == raw
    else:
        assert outcome.status == 400
        assert "element" in outcome.detail


@unhurried
@given(st.lists(st.binary(max_size=40), min_size=1, max_size=MOST + 2), st.integers(1, MOST))
def test_a_tensor_has_neither_more_nor_fewer_elements_than_its_shape_says(elements: list[bytes], count: int) -> None:
    raw = tensors.joined(elements)
    data = [base64.b64encode(element).decode() for element in elements]
    bodies = [
        request(image([count], parameters={"binary_data_size": len(raw)}), raw),
        request(image([count], data=data)),
    ]
    for body in bodies:
        if len(elements) == count:
            assert len(tensors.read(*body, MODEL, MOST).images) == count
        else:
            with pytest.raises(MalformedRequest, match=f"does not have the {count} elements"):
                tensors.read(*body, MODEL, MOST)


@unhurried
@given(ELEMENTS, st.integers(1, 20))
def test_binary_data_that_end_early_or_late_are_refused(elements: list[bytes], change: int) -> None:
    raw = tensors.joined(elements)
    tensor = image([len(elements)], parameters={"binary_data_size": len(raw)})
    for wrong in (raw[: max(0, len(raw) - change)], raw + b"x" * change):
        with pytest.raises(MalformedRequest, match="follow the JSON"):
            tensors.read(*request(tensor, wrong), MODEL, MOST)


@unhurried
@given(st.integers(0, 400))
def test_a_json_that_is_cut_is_refused(length: int) -> None:
    body, _ = request(image([1], data=["x" * 400]))
    with pytest.raises(MalformedRequest):
        tensors.read(body, length, MODEL, MOST)


HOSTILE = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.just(10**4000)
    | st.floats(allow_nan=True, allow_infinity=True)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)


@unhurried
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "name": st.sampled_from(["image", "pixels"]) | HOSTILE,
            "datatype": st.sampled_from(["BYTES", "UINT8"]) | HOSTILE,
            "shape": st.sampled_from([[1], [1, 1], [1, SIDE, SIDE, 3]]) | st.lists(st.integers()) | HOSTILE,
            "parameters": st.fixed_dictionaries({}, optional={"binary_data_size": st.integers() | HOSTILE}) | HOSTILE,
            "data": HOSTILE,
        },
    ),
    st.fixed_dictionaries({}, optional={"id": HOSTILE, "outputs": HOSTILE, "parameters": HOSTILE}),
    st.binary(max_size=20),
    st.none() | st.integers(0, 500),
)
def test_whatever_comes_is_read_or_refused_with_a_sentence(
    tensor: dict[str, Any], rest: dict[str, Any], raw: bytes, length: int | None
) -> None:
    body, size = request(tensor, raw, **rest)
    outcome = read_or_refused(body, size if length is None else length)
    if isinstance(outcome, Inference):
        assert outcome.images
    else:
        assert outcome.status in {400, 413, 422}
        assert " " in outcome.detail


def test_more_outputs_than_there_are_are_refused_at_once() -> None:
    body, _ = request(image([1], data=["x"]), outputs=[{"name": "probabilities"}] * 3)
    with pytest.raises(MalformedRequest, match="outputs may have no more items than 2"):
        tensors.read(body, None, MODEL, MOST)


def test_a_request_has_one_error_however_much_of_it_is_wrong() -> None:
    import tracemalloc

    body, _ = request({"name": "image", "datatype": "BYTES", "shape": ["x"] * 40_000, "data": []})
    tracemalloc.start()
    with pytest.raises(MalformedRequest, match=r"shape\.0"):
        tensors.read(body, None, MODEL, MOST)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 5_000_000


@unhurried
@given(PROBABILITIES)
def test_probabilities_are_the_same_in_both_forms_to_the_bit(rows: list[list[float]]) -> None:
    given_ = [np.array(row, np.float32) for row in rows]
    output, raw = tensors.answer(given_, OutputForm(None, True), MODEL.labels)
    assert output.shape == [len(rows), len(COLOURS)]
    assert np.array_equal(np.frombuffer(raw, "<f4").reshape(output.shape), given_)
    text, nothing = tensors.answer(given_, OutputForm(None, False), MODEL.labels)
    data = json.loads(text.model_dump_json())["data"]
    assert np.array_equal(np.array(data, np.float32).reshape(text.shape), given_)
    assert nothing == b""


@unhurried
@given(PROBABILITIES, st.integers(1, len(COLOURS)))
def test_a_classification_has_its_k_classes_in_order_in_both_forms(rows: list[list[float]], k: int) -> None:
    given_ = [np.array(row, np.float32) for row in rows]
    text, _ = tensors.answer(given_, OutputForm(k, False), MODEL.labels)
    output, raw = tensors.answer(given_, OutputForm(k, True), MODEL.labels)
    texts = [element.decode() for element in tensors.split(memoryview(raw))]
    assert texts == text.data
    assert output.shape == text.shape == [len(rows), k]
    for row, start in zip(given_, range(0, len(texts), k), strict=True):
        chosen = [int(one.split(":")[1]) for one in texts[start : start + k]]
        assert np.array_equal(row[chosen], np.sort(row)[::-1][:k])
        assert [one.split(":", 2)[2] for one in texts[start : start + k]] == [list(COLOURS)[index] for index in chosen]


def test_a_classification_is_rounded_to_the_seven_digits_of_a_float32() -> None:
    row = np.array([2 / 3, 1 / 3, 1.2345678e-7, 0, 0, 0], np.float32)
    text, _ = tensors.answer([row], OutputForm(3, False), MODEL.labels)
    assert text.data == ["0.6666667:0:red", "0.3333333:1:green", "1.234568e-07:2:blue"]


def test_an_output_has_either_data_or_their_size() -> None:
    for binary in (False, True):
        output, _ = tensors.answer([np.zeros(6, np.float32)], OutputForm(None, binary), MODEL.labels)
        assert ("data" in output.model_dump()) != binary
        assert OutputTensor.model_validate(output.model_dump()) == output


NEST = b"[" * 150 + b"]" * 150


@pytest.mark.parametrize(
    "data",
    [b",".join([NEST] * (MOST * SIDE * SIDE // 50)), b",".join([b"[]"] * (MOST * SIDE * SIDE * 3))],
    ids=["deep", "flat"],
)
def test_json_of_far_more_lists_than_pixels_need_is_refused_unread(
    data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensors, "valid", None)
    body = b'{"inputs":[{"name":"image","datatype":"BYTES","shape":[1],"data":[' + data + b"]}]}"
    most = MOST * (SIDE * SIDE + SIDE + 1)
    with pytest.raises(BodyTooLarge, match=f"many more than {most:,} lists and objects, the most that a request needs"):
        tensors.read(body, None, MODEL, MOST)
