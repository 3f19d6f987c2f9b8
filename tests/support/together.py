"""A pytest plugin: with `--together PATTERN`, one of several processes runs all files that the pattern matches.

Each process that runs a test which needs TensorFlow imports it, and that takes CPU seconds.
"""

import re
from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--together", metavar="PATTERN", help="with --dist loadfile, one process runs all of these files")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> Any:
    """Hand out files as usual, and those that match as if they were one."""
    pattern = config.getoption("--together")
    if not pattern:
        return None
    scheduler = LoadFileScheduling(config, log)
    file_of = scheduler._split_scope
    scheduler._split_scope = lambda test: pattern if re.match(pattern, test) else file_of(test)
    return scheduler
