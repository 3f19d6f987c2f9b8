"""The packages that are mutated, each with the tests that mirror it."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple


class Package(NamedTuple):
    """A part of the service, and the tests that are to notice its faults. Paths are relative to the repository."""

    name: str
    sources: tuple[str, ...]
    tests: tuple[str, ...]

    def files(self, repository: Path) -> Iterator[str]:
        """Yield the path of each Python file, relative to the repository, in the order of their names."""
        for source in self.sources:
            path = repository / source
            for file in [path] if path.is_file() else sorted(path.rglob("*.py")):
                yield str(file.relative_to(repository))


PACKAGES = (
    Package("prediction", ("app/prediction",), ("tests/prediction",)),
    Package(
        "api",
        ("app/api/predict.py", "app/api/payload.py", "app/api/response.py", "app/api/problems.py"),
        ("tests/api",),
    ),
    Package("imaging", ("app/imaging",), ("tests/imaging",)),
    Package("runtime", ("app/runtime",), ("tests/runtime",)),
    # The documents are compared with the settings, and limits of memory follow from two of their constants.
    Package(
        "config",
        ("app/config.py", "app/environment.py", "app/keys.py"),
        (
            "tests/test_config.py",
            "tests/test_environment.py",
            "tests/test_keys.py",
            "tests/documents/test_docs.py",
            "tests/runtime/test_memory.py",
        ),
    ),
    Package(
        "client",
        tuple(f"app/client/{name}.py" for name in ("asynchronous", "calls", "client", "images", "many", "retry")),
        ("tests/client",),
    ),
    Package("oip", ("app/oip",), ("tests/oip", "tests/api/test_openapi.py")),
)
