"""A mutant is killed by a test that fails, and by one that hangs."""

import os
import subprocess
import sys
from pathlib import Path

from tests.support.data import REPOSITORY

TEST = """
import pytest
from thing import double

@pytest.mark.parametrize("name", [f"of {double(1)}"])
def test_it(name):
    assert double(3) == 6
"""
ASK = """
import sys
from pathlib import Path
from tools.mutants.process import passes
for folder in sys.argv[1:]:
    each_s, limit_s = {"endless": (60, 2), "slow": (1, 60)}.get(Path(folder).name, (60, 60))
    print(passes(["test_thing.py::test_it[of 2]"], Path(folder), each_s, limit_s))
"""
BODIES = {
    "right": ("return 2 * value", "True"),
    "wrong": ("return 3 * value if value > 1 else 2", "False"),
    "endless": ("while value > 1: pass\n    return 2", "None"),
    "slow": ("import time; time.sleep(50 * (value - 1)); return 2 * value", "False"),
    "renamed": ("return 2 * value if value > 1 else 9", "True"),
}
"""What is tried as the body of a function, and whether its test passes; None if it hangs.

The name of the test depends on the function. If the test has another name, it is tried under that.
"""


def test_tests_pass_fail_or_hang_with_a_fault(tmp_path: Path) -> None:
    for name, (body, _) in BODIES.items():
        folder = tmp_path / name
        folder.mkdir()
        (folder / "thing.py").write_text(f"def double(value):\n    {body}\n")
        (folder / "test_thing.py").write_text(TEST)
        (folder / "pytest.ini").write_text("[pytest]\nmarkers =\n    tensorflow\n    e2e\n")
    command = [sys.executable, "-c", ASK, *(str(tmp_path / name) for name in BODIES)]
    env = os.environ | {
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTEST_PLUGINS": "pytest_timeout,_hypothesis_pytestplugin",
    }
    done = subprocess.run(command, cwd=REPOSITORY, env=env, capture_output=True, text=True, timeout=200, check=True)
    assert done.stdout.split() == [passes for _, passes in BODIES.values()]
