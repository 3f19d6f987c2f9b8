"""A pytest plugin: with `--together PATTERN`, one of several processes runs all files that the pattern matches.

Each process that runs a test which needs TensorFlow imports it, and that takes CPU seconds.
"""

import re

import pytest
from xdist.scheduler import LoadFileScheduling


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--together", metavar="PATTERN", help="with --dist loadfile, one process runs all of these files")


class Together(LoadFileScheduling):  # type: ignore[misc]  # xdist has no types here
    """Hands out files, and those that match as if they were one."""

    def _split_scope(self, nodeid: str) -> str:
        pattern: str = self.config.getoption("--together")
        return pattern if re.match(pattern, nodeid) else str(super()._split_scope(nodeid))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> LoadFileScheduling | None:
    return Together(config, log) if config.getoption("--together") else None
