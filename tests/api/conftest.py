"""What tests of routes share."""

from collections.abc import Iterator

import pytest

from tests.support.client import Launch, launching


@pytest.fixture
def launch() -> Iterator[Launch]:
    """Start applications, which end with the test."""
    with launching() as launch:
        yield launch
