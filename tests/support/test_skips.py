"""What is skipped is listed at the end of a run, by what the tests lack and how to get it."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.data import REPOSITORY
from tests.support.needs import Need
from tests.support.skips import added

pytest_plugins = ["pytester"]

MISSING = Need("a browser", "apt-get install chromium", lambda: None)
PRESENT = Need("Python", "apt-get install python3", lambda: True)
TESTS = """
import pytest
from tests.support.test_skips import MISSING, PRESENT

@MISSING.mark()
@pytest.mark.parametrize("number", [1, 2])
def test_marked(number):
    pass

@pytest.fixture
def page():
    MISSING.check()

def test_fixture(page):
    pass

@PRESENT.mark()
def test_run():
    PRESENT.check()

def test_for_another_reason():
    pytest.skip("not on Sundays")
"""
MODULE = """
import pytest
pytest.importorskip("no_such_module", reason="needs no_such_module: make it")

def test_one():
    pass

async def test_two():
    pass
"""


@pytest.fixture
def tests(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makepyfile(test_parts=TESTS, test_whole=MODULE)
    return pytester


def lines(result: pytest.RunResult) -> list[str]:
    """Return the list that the run ended with."""
    found = "\n".join(result.outlines).partition("skipped for want of something")[2].splitlines()[1:]
    return [line for line in found if line and not line.startswith("=")]


LISTED = [
    "    3  a browser       apt-get install chromium",
    "    2  no_such_module  make it",
    "    1  not on Sundays",
]


@pytest.mark.parametrize("processes", [(), ("-p", "xdist", "-n", "2")], ids=["one process", "several"])
def test_a_run_ends_with_what_was_skipped_and_how_to_get_it(tests: pytest.Pytester, processes: tuple[str, ...]) -> None:
    result = tests.runpytest_subprocess("-p", "tests.support.skips", *processes)
    result.assert_outcomes(passed=1, skipped=5)
    assert lines(result) == LISTED


def test_where_nothing_is_skipped_nothing_is_listed(tests: pytest.Pytester) -> None:
    result = tests.runpytest_subprocess("-p", "tests.support.skips", "test_parts.py", "-k", "test_run")
    assert "skipped for want" not in result.stdout.str()


def test_several_runs_add_up(tests: pytest.Pytester, tmp_path: Path) -> None:
    file = tmp_path / "build" / "skipped.json"
    for arguments in (["test_parts.py"], ["test_whole.py"]):
        result = tests.runpytest_subprocess("-p", "tests.support.skips", f"--skipped={file}", *arguments)
    assert lines(result) == LISTED


def test_runs_that_end_side_by_side_add_up(tmp_path: Path) -> None:
    one, file = Counter({"needs a browser": 1}), tmp_path / "skipped.json"
    with ThreadPoolExecutor(4) as threads:
        totals = list(threads.map(lambda _: added(file, one).total(), range(200)))
    assert sorted(totals) == list(range(1, 201))
