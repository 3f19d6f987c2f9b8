"""What every test shares."""

import os

import pytest

pytest_plugins = [f"tests.support.{name}" for name in ("skips", "weights", "foreign", "distribution", "processes")]

# The tests say which settings they mean; none may leak in from whoever runs them.
for name in [name for name in os.environ if name.startswith("MOBILENET_")]:
    del os.environ[name]


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"
