"""What is refused before it is parsed: messages that would become many times their size."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import BodyTooLarge, MalformedRequest, ServiceError
from app.oip.grpc import wire
from tests.support.grpc import classification, raw_files, typed_files

IMAGES, VALUES = 4, 100_000
MOST = wire.BESIDE_BYTES + wire.IMAGE_HEAD_BYTES * IMAGES
LARGE = bytes(2 * MOST)


def check(body: bytes) -> None:
    wire.check(body, IMAGES, VALUES)


def inner(number: int, content: bytes) -> bytes:
    """Return a field with other fields, or bytes, in it."""
    size, encoded = len(content), bytearray([number << 3 | wire.BYTES])
    while size > 127:
        encoded.append(size & 127 | 128)
        size >>= 7
    return bytes([*encoded, size]) + content


@given(st.lists(st.binary(max_size=300), max_size=IMAGES - 1), st.integers(1, 1000))
def test_a_request_for_images_passes_in_either_form(files: list[bytes], k: int) -> None:
    for request in (raw_files(LARGE, *files, outputs=classification(k), id="mine"), typed_files(LARGE, *files)):
        request.parameters["other"].double_param = 1.5
        check(request.SerializeToString())


def inputs(content: bytes) -> bytes:
    return inner(5, content)


def contents(content: bytes) -> bytes:
    return inner(5, inner(5, content))


@pytest.mark.parametrize(
    "body",
    [
        b"\x2a\x00" * MOST,  # inputs
        b"\x32\x00" * MOST,  # outputs
        b"\x3a\x00" * MOST,  # raw_input_contents
        b"\x22\x00" * MOST,  # parameters
        b"\x08\x01" * MOST,  # fields that there are not
        b"\x09" + bytes(8 * MOST),
        inner(1, LARGE),  # the name of the model
        inputs(b"\x18\x01" * MOST),  # dimensions one by one
        inputs(inner(3, LARGE)),  # and together
        inputs(inner(4, b"\x08\x01" * MOST)),  # parameters
        contents(b"\x42\x00" * MOST),  # elements
        inner(6, inner(2, LARGE)),  # parameters of an output
        inputs(bytes([2 << 3 | wire.BYTES, 100]) + bytes(100)) * (MOST // 100),  # many that are small
    ],
    ids=range(13),
)
def test_much_beside_images_is_refused_wherever_it_is(body: bytes) -> None:
    with pytest.raises(BodyTooLarge, match=f"{MOST:,} bytes beside"):
        check(body)


@pytest.mark.parametrize("number", [1, 2, 3, 5, 6, 7])
def test_data_in_a_field_for_values_of_another_kind_are_said_to_be_there_however_they_are_split(number: int) -> None:
    half = inner(number, bytes(MOST // 2 + 1))
    for body in (contents(inner(number, LARGE)), contents(half + half)):
        with pytest.raises(MalformedRequest, match="pixels must be in uint_contents or in raw_input_contents"):
            check(body)


def test_a_request_may_have_so_many_bytes_beside_its_images_and_no_more() -> None:
    for image in (inner(7, LARGE), contents(inner(8, LARGE))):
        heads = len(image) - len(LARGE) + len(inner(1, bytes(MOST))) - MOST
        left = MOST - heads
        check(image + inner(1, bytes(left)))
        with pytest.raises(BodyTooLarge):
            check(image + inner(1, bytes(left + 1)))


def test_pixels_may_have_the_bytes_that_they_need_in_one_part_or_in_several() -> None:
    half = inner(4, b"\x01" * VALUES)
    for parts in ([inner(5, half + half)], [inner(5, half)] * 2):
        fit = b"".join(parts)
        check(inputs(fit))
        for more in (inputs(fit + inner(5, inner(4, LARGE))), inputs(fit) + inputs(inner(5, half))):
            with pytest.raises(BodyTooLarge, match="more than 200,000 bytes"):
                check(more)
    with pytest.raises(BodyTooLarge, match="more than 200,000 bytes"):
        check(contents(inner(4, b"\x01" * (2 * VALUES + 1))))


@pytest.mark.parametrize("end", [b"\x2a", b"\x2a\x05\x00", b"\x08", b"\x09\x00", b"\x0b", b"\x0c", b"\xff" * 20])
def test_what_is_not_in_the_encoding_or_truncated_is_refused(end: bytes) -> None:
    with pytest.raises(MalformedRequest, match="encoding"):
        check(inner(7, LARGE) + end)


@given(st.binary(max_size=200))
def test_any_bytes_pass_or_are_refused_in_a_sentence(end: bytes) -> None:
    with suppress(ServiceError):
        check(inner(7, LARGE) + end)
