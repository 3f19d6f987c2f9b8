"""A pytest plugin: at its end, a run lists what was skipped for want of what, and the command that gets it.

`--skipped FILE` adds up several runs, as `make test` makes, some of them side by side: each writes what it skipped to
the file, and lists all that the file has.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.support.shared import one_at_a_time

TEST = re.compile(r"^ *(async )?def test_", re.M)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--skipped", type=Path, metavar="FILE", help="add what is skipped to this file, and list all of it"
    )


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    skipped = counted(terminalreporter.stats.get("skipped", []), config.rootpath)
    if file := config.getoption("--skipped"):
        skipped = added(file, skipped)
    if skipped:
        terminalreporter.section("skipped for want of something")
        for line in listed(skipped):
            terminalreporter.write_line(line)


def counted(reports: Iterable[pytest.TestReport | pytest.CollectReport], root: Path) -> Counter[str]:
    """Return the number of tests by the reason for which they were skipped; of a whole module, those it defines."""
    found = Counter[str]()
    for report in reports:
        assert isinstance(report.longrepr, tuple)
        reason = report.longrepr[2].removeprefix("Skipped: ")
        whole = isinstance(report, pytest.CollectReport)
        found[reason] += len(TEST.findall((root / report.nodeid).read_text())) if whole else 1
    return found


def added(file: Path, skipped: Counter[str]) -> Counter[str]:
    """Add to what earlier runs skipped, and remember it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with one_at_a_time(file.with_suffix(".lock")):
        total = skipped + Counter(json.loads(file.read_text()) if file.exists() else {})
        file.write_text(json.dumps(total))
    return total


def listed(skipped: Counter[str]) -> Iterable[str]:
    """Yield a line a reason: the number of tests, what they need, and how to get it."""
    rows = [(count, *reason.removeprefix("needs ").partition(": ")) for reason, count in skipped.most_common()]
    width = max(len(what) for _, what, _, _ in rows)
    for count, what, _, command in rows:
        yield f"{count:5}  {what:{width}}  {command}".rstrip()
