"""Runs tests in a forked process, which has imported what others wrote and nothing of the service."""

import importlib
import multiprocessing
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import pytest

OWN = ("app", "tests", "tools", "conftest", "__main__", "__mp_main__")
"""What the forked process imports itself, since it may be mutated."""
OPTIONS = (
    *("-x", "-q"),
    *(f"-pno:{name}" for name in ("cacheprovider", "schemathesis", "xdist", "faulthandler")),
    "--hypothesis-profile=ci",  # the same examples every time, or chance would kill mutants
    "-Wignore::pytest.PytestAssertRewriteWarning",  # plugins have been imported before
)
FAST = ("-m", "not tensorflow and not e2e")
NOT_FOUND = (pytest.ExitCode.USAGE_ERROR, pytest.ExitCode.NO_TESTS_COLLECTED)
FORK = multiprocessing.get_context("fork")


def in_fork(work: Callable[[], int], folder: Path, limit_s: float) -> int | None:
    """Return the exit code of `work` in a forked process in a folder; None if it did not end in time and was killed.

    The process and whatever it has started are killed then. Its output goes to `folder.with_suffix(".log")`.
    """
    process = FORK.Process(target=_child, args=(work, folder))
    process.start()
    process.join(limit_s)
    with suppress(ProcessLookupError):
        os.killpg(process.pid or 0, signal.SIGKILL)
    process.join()
    return None if process.exitcode == -signal.SIGKILL else process.exitcode


def _child(work: Callable[[], int], folder: Path) -> None:
    os.setsid()
    log = os.open(folder.with_suffix(".log"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(log, stream)
    os.chdir(folder)
    os.environ["PYTHONPATH"] = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])
    sys.path.insert(0, str(folder))
    code = 1
    try:
        code = int(work())
    except BaseException:  # the fork must end here, whatever happens
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)  # without waiting for threads that the fault may have left


def passes(tests: Iterable[str], folder: Path, each_s: float, limit_s: float) -> bool | None:
    """Return whether tests pass in a folder; None if they have not ended after `limit_s`.

    A test that goes on for longer than `each_s` has failed. A fault may change the names of tests; then all tests of
    their files run.
    """

    def run(names: list[str]) -> int | None:
        return in_fork(lambda: pytest.main([*OPTIONS, *FAST, f"--timeout={each_s}", *names]), folder, limit_s)

    sys.dont_write_bytecode = True  # what is compiled of a mutant is of no use to the next one
    named = list(tests)
    code = run(named)
    if code in NOT_FOUND:
        code = run(sorted({name.partition("::")[0] for name in named}))
    return None if code is None else code == pytest.ExitCode.OK


def import_others(names: Iterable[str]) -> None:
    """Import modules that are not our own, so that forked processes need not.

    Private ones are left to those whose they are: `_asyncio` alone, before `asyncio`, gives another kind of tasks.
    """
    for name in names:
        if not name.startswith("_") and name.partition(".")[0] not in OWN:
            with suppress(Exception):
                importlib.import_module(name)
