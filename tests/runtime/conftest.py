"""What tests of pipelines share."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

Wait = Callable[[Coroutine[Any, Any, Any]], Any]
"""Runs a coroutine to its end, and returns what it does."""


@pytest.fixture(scope="module")
def wait() -> Iterator[Wait]:
    """One loop for all tests of a module, so that they can share a pool."""
    with asyncio.Runner() as runner:
        yield runner.run
