"""Which tests run which lines, and how long each takes: from one run of the tests of a package without a fault."""

import ast
import json
import time
from collections import defaultdict
from collections.abc import Generator, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tools.mutants.process import FAST, OPTIONS, in_fork

LIMIT_S = 1800.0
"""How long the tests of a package may take without a fault."""
AT_MOST_S = 30.0
"""How long the tests take together, by their times without a fault, that are tried on one mutant."""


class TestsFailed(Exception):
    """The tests fail without any fault, so that nothing can be learnt from them."""


@dataclass(slots=True)
class Suite:
    """The tests of a package: the seconds that each takes, and which of them run a line of a file.

    `lines` has a path relative to the repository, then the number of a line, then the names of tests.
    `modules` are the names of all modules that the tests imported.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    lines: dict[str, dict[int, list[str]]] = field(default_factory=dict)
    modules: list[str] = field(default_factory=list)

    def noticing(self, path: str, line: int, text: str) -> list[str]:
        """Return the tests that may notice a fault in a line of a file with this text, quickest first.

        These run the statement of that line. A statement that runs on import alone, such as a constant, is left to all
        tests. Tests that would take longer than `AT_MOST_S` together are left out.
        """
        covered = self.lines.get(path, {})
        found = _names(covered, statement(text, line)) or set(self.seconds)
        chosen: list[str] = []
        spent_s = 0.0
        for name in sorted(found, key=lambda name: (self.seconds[name], name)):
            spent_s += self.seconds[name]
            if chosen and spent_s > AT_MOST_S:
                break
            chosen.append(name)
        return chosen


def _names(covered: dict[int, list[str]], lines: Iterable[int]) -> set[str]:
    return {name for line in lines for name in covered.get(line, ())}


def statement(text: str, line: int) -> range:
    """Return the lines of the innermost statement that has a line; of one with a body, the lines above the body."""
    found = range(line, line + 1)
    for node in ast.walk(ast.parse(text)):  # outer ones first
        if isinstance(node, ast.stmt | ast.match_case | ast.ExceptHandler):
            body = getattr(node, "body", None)
            start = node.pattern.lineno if isinstance(node, ast.match_case) else node.lineno
            end = body[0].lineno if body else (getattr(node, "end_lineno", None) or start) + 1
            if start <= line < max(end, start + 1):
                found = range(start, max(end, start + 1))
    return found


class _Recorder:
    """A plugin of pytest that tells coverage which test runs, and notes how long it takes."""

    def __init__(self, coverage: Any) -> None:
        self.seconds: dict[str, float] = {}
        self._coverage = coverage

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        self._coverage.switch_context(item.nodeid)
        start = time.perf_counter()
        result = yield
        self.seconds[item.nodeid] = time.perf_counter() - start
        return result


def record(tests: Iterable[str], sources: Iterable[str], folder: Path) -> Suite:
    """Run the tests in a copy of the repository, and return what they run of its sources."""
    notes = folder.with_suffix(".json")
    code = in_fork(lambda: _record([*tests], [*sources], folder, notes), folder, LIMIT_S)
    if code != 0:
        raise TestsFailed(folder.with_suffix(".log").read_text(encoding="utf-8")[-3000:])
    seconds, lines, modules = json.loads(notes.read_text(encoding="utf-8"))
    numbered = {path: {int(line): names for line, names in covered.items()} for path, covered in lines.items()}
    return Suite(seconds, numbered, modules)


def _record(tests: list[str], sources: list[str], folder: Path, notes: Path) -> int:
    import sys

    from coverage import Coverage

    coverage = Coverage(data_file=None, include=[str(folder / source) for source in sources])
    recorder = _Recorder(coverage)
    coverage.start()
    code = int(pytest.main([*OPTIONS, *FAST, *tests], plugins=[recorder]))
    coverage.stop()
    data = coverage.get_data()
    lines: dict[str, dict[int, list[str]]] = defaultdict(dict)
    for source in sources:
        for line, names in (data.contexts_by_lineno(str(folder / source)) or {}).items():
            lines[source][line] = [name for name in names if name in recorder.seconds]
    notes.write_text(json.dumps([recorder.seconds, lines, sorted(sys.modules)]), encoding="utf-8")
    return code
