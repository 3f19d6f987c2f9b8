"""What the head of a request may be."""

import pytest

from app.errors import MalformedRequest
from app.server.head import HEADERS_BYTES, Head


def test_empty_headers_count_by_what_they_take_on_their_way() -> None:
    head = Head()
    head.on_message_begin()
    for _ in range(HEADERS_BYTES // len(b"a: \r\n")):
        head.on_header(b"a", b"")
    with pytest.raises(MalformedRequest, match="more than 65,536 bytes"):
        head.on_header(b"a", b"")
