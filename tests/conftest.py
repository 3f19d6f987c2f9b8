"""What every test shares."""

import gc
import os
import re
import ssl
from collections.abc import Iterator
from functools import cache

import pytest
from hypothesis import settings

# No test asserts how fast something is, and on a busy machine an example may take a second.
settings.register_profile("without a clock", deadline=None)
settings.load_profile("without a clock")

pytest_plugins = [
    f"tests.support.{name}" for name in ("skips", "together", "weights", "foreign", "distribution", "processes")
]

# The tests say which settings they mean; none may leak in from whoever runs them.
for name in [name for name in os.environ if name.startswith("MOBILENET_")]:
    del os.environ[name]

# Otherwise gRPC, once a test has used it, ends what is forked and has closed its files, as the tests of the supervisor
# do. The service forks before it imports gRPC.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Have every file with slow tests say so itself, as `make test-slow` searches the files for those words."""
    slow = {item.path for item in items if any(map(item.get_closest_marker, ("tensorflow", "e2e")))}
    for path in slow:
        if "e2e" not in path.parts and not re.search(r"mark\.(tensorflow|e2e)", path.read_text()):
            raise pytest.UsageError(f"{path} does not mark its slow tests itself, so `make test-slow` would miss them")


def pytest_collection_finish() -> None:
    """Look for garbage seldom, and not in what the tests import: it takes an eighth of the CPU seconds otherwise."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session", autouse=True)
def certificates_read_once() -> Iterator[None]:
    """Give all clients of httpx one TLS context.

    Each would read the certificates of all authorities otherwise, also for plain HTTP: 25 ms of CPU for every question
    that a test asks a process, and for every look at whether it is ready.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ssl, "create_default_context", cache(ssl.create_default_context))
        yield
