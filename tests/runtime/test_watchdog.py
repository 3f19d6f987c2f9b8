"""A watchdog counts what it does not hear, and leaves alone whoever has ended the conversation."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator

import pytest

from app.runtime import watchdog

TICK_S = 0.02
PARENT = os.getppid()


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Yield the end on which heartbeats are sent; the test closes it."""
    reader, writer = os.pipe()
    with open(reader, encoding="utf-8") as heard:
        monkeypatch.setattr("sys.stdin", heard)
        yield writer


def test_a_pipe_that_is_closed_is_no_hang(pipe: int) -> None:
    os.write(pipe, b".")
    os.close(pipe)
    assert not watchdog._wait(TICK_S, PARENT)


def test_before_the_first_heartbeat_nothing_is_counted_and_after_the_last_the_patience_is(pipe: int) -> None:
    began = time.monotonic()
    wait_s = 20 * TICK_S

    def beat_late() -> None:
        time.sleep(wait_s)
        os.write(pipe, b".")

    threading.Thread(target=beat_late).start()
    assert watchdog._wait(TICK_S, PARENT)
    assert time.monotonic() - began > wait_s + watchdog.TICKS * TICK_S
    os.close(pipe)


def test_ticks_of_a_parent_that_is_stopped_do_not_count(pipe: int, monkeypatch: pytest.MonkeyPatch) -> None:
    states = [True] * 30
    monkeypatch.setattr(watchdog, "_is_stopped", lambda _: bool(states) and states.pop())
    os.write(pipe, b".")
    assert watchdog._wait(TICK_S / 10, PARENT)
    assert not states
    os.close(pipe)


@pytest.mark.parametrize(("later", "ended"), [(1234, [(1234, signal.SIGALRM)]), (1, [])])
def test_a_parent_that_hangs_is_ended_and_whoever_has_taken_its_place_meanwhile_is_not(
    later: int, ended: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    killed: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "getppid", iter([1234, later]).__next__)
    monkeypatch.setattr(os, "kill", lambda *process_and_number: killed.append(process_and_number))
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr("app.logs.configure_logging", lambda _: None)
    monkeypatch.setattr(watchdog, "_wait", lambda *_: True)
    watchdog.main(TICK_S)
    assert killed == ended


def test_a_process_that_is_stopped_is_told_from_one_that_runs_and_one_that_is_gone() -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        assert not watchdog._is_stopped(process.pid)
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
        stopped = watchdog._is_stopped(process.pid)
        process.kill()
    assert stopped
    assert not watchdog._is_stopped(process.pid)
