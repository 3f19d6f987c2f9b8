"""What is refused before it is parsed: messages that would become many times their size."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import BodyTooLarge, MalformedRequest, ServiceError
from app.oip.grpc import wire
from tests.support.grpc import classification, raw_files, typed_files

IMAGES, VALUES = 4, 1_000
MANY = wire.MOST_FIELDS + IMAGES + 1


def check(body: bytes) -> None:
    wire.check(body, IMAGES, VALUES)


def inner(number: int, content: bytes) -> bytes:
    """Return a field with other fields, or bytes, in it."""
    size, encoded = len(content), bytearray([number << 3 | wire.BYTES])
    while size > 127:
        encoded.append(size & 127 | 128)
        size >>= 7
    return bytes([*encoded, size]) + content


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=IMAGES), st.integers(1, 1000))
def test_a_request_for_images_passes_in_either_form(files: list[bytes], k: int) -> None:
    for request in (raw_files(*files, outputs=classification(k), id="mine"), typed_files(*files)):
        request.parameters["other"].double_param = 1.5
        check(request.SerializeToString())


def test_a_large_image_passes() -> None:
    large = bytes(2 * wire.SHORT)
    for request in (raw_files(large), typed_files(large)):
        check(request.SerializeToString())


@pytest.mark.parametrize(
    "body",
    [
        b"\x2a\x00" * MANY,  # inputs
        b"\x32\x00" * MANY,  # outputs
        b"\x3a\x00" * MANY,  # raw_input_contents
        b"\x22\x00" * MANY,  # parameters
        b"\xf8\x07\x01" * MANY,  # a field that there is not
        inner(5, b"\x18\x01" * MANY),  # dimensions one by one
        inner(5, b"\x22\x00" * MANY),  # parameters of an input
        inner(5, inner(5, b"\x42\x00" * MANY)),  # elements
        inner(5, inner(4, inner(2, b"\x08\x01" * MANY))),  # values of a parameter
        inner(6, inner(2, inner(2, b"\x08\x01" * MANY))),
        (inner(5, b"") + inner(5, inner(5, b"\x42\x00"))) * (MANY // 4 + 1),
    ],
)
def test_a_message_of_very_many_fields_is_refused_wherever_they_are(body: bytes) -> None:
    with pytest.raises(BodyTooLarge, match="fields"):
        check(body)


@pytest.mark.parametrize(
    ("number", "limit"), [(3, wire.SHORT), (2, wire.SHORT), (4, 2 * VALUES)], ids=["dimensions", "name", "values"]
)
def test_a_field_that_needs_not_be_long_must_not_be(number: int, limit: int) -> None:
    def body(size: int) -> bytes:
        field = inner(number, b"\x01" * size)
        return inner(5, inner(5, field) if number == 4 else field)

    check(body(limit))
    with pytest.raises(BodyTooLarge, match=f"{limit:,}"):
        check(body(limit + 1))


def test_numbers_of_other_kinds_are_bounded_too() -> None:
    for number in (1, 2, 3, 5, 6, 7):
        with pytest.raises(BodyTooLarge):
            check(inner(5, inner(5, inner(number, bytes(wire.SHORT + 8)))))


@pytest.mark.parametrize("body", [b"\x2a", b"\x2a\x05\x00", b"\x08", b"\x09\x00", b"\x0b", b"\x0c", b"\xff" * 20])
def test_what_is_not_in_the_encoding_or_truncated_is_refused(body: bytes) -> None:
    with pytest.raises(MalformedRequest, match="encoding"):
        check(body)


@given(st.binary(max_size=200))
def test_any_bytes_pass_or_are_refused_in_a_sentence(body: bytes) -> None:
    with suppress(ServiceError):
        check(body)
