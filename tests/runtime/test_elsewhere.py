"""Work in a process of its own comes to the same as here, and nothing of it remains but the result."""

import errno
import os
import signal
import sys
from collections.abc import Callable
from typing import Any, NoReturn

import pytest

from app.errors import StartError
from app.runtime.elsewhere import elsewhere

MADE: list[int] = []


def add() -> int:
    MADE.append(os.getpid())
    return len(MADE)


def fail() -> NoReturn:
    raise StartError("this file is damaged")


def unpicklable() -> Callable[[], None]:
    return lambda: None


def end(number: int) -> Callable[[], Any]:
    return lambda: os.kill(os.getpid(), number)


def test_the_result_is_all_that_comes_back() -> None:
    assert elsewhere(add) == 1
    assert MADE == []
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_what_goes_wrong_is_raised_here() -> None:
    with pytest.raises(StartError, match="this file is damaged"):
        elsewhere(fail)
    with pytest.raises((AttributeError, TypeError), match="pickle"):
        elsewhere(unpicklable)


@pytest.mark.parametrize("work", [end(signal.SIGKILL), lambda: sys.exit(0)], ids=["killed", "ended"])
def test_a_process_that_ends_in_the_middle_is_one_line(work: Callable[[], Any]) -> None:
    with pytest.raises(StartError, match="ended before it was done; was there too little memory"):
        elsewhere(work)


def test_a_process_that_cannot_be_started_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def fork() -> NoReturn:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", fork)
    with pytest.raises(StartError, match=r"the process that tests the model cannot be started: .*ulimit"):
        elsewhere(add)
