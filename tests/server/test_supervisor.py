"""Processes that end are replaced, those that start slowly are left alone, and those that hang are killed.

Small scripts stand for the HTTP processes.
"""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from app.errors import BAD_START
from app.server import supervisor
from app.server.supervisor import Supervisor

BEGIN = """
import os, signal, socket, sys, time
channel, counts = socket.socket(fileno=int(sys.argv[1])), sys.argv[2]
number = int(os.path.basename(counts))
open(counts + "-pid", "w").write(str(os.getpid()))

def serve():
    channel.settimeout(0.02)
    while True:
        channel.send(b"w")
        try:
            if not channel.recv(1):
                sys.exit()
        except TimeoutError:
            pass
"""
SERVES = "serve()"


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"WELL_S": 0.05, "RETRY_S": 0.05, "HANG_S": 0.5, "KILL_S": 0.3}.items():
        monkeypatch.setattr(supervisor, name, value)


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        yield made


class Running:
    """A supervisor at work."""

    def __init__(self, folder: Path, listener: socket.socket, script: str, count: int) -> None:
        self._folder = folder
        command = [sys.executable, "-c", BEGIN + script]
        self._task = asyncio.create_task(Supervisor(command, folder, 0).run(listener, count))

    @property
    def pids(self) -> dict[int, int]:
        """The processes that were started, by their numbers."""
        texts = {file.name.removesuffix("-pid"): file.read_text() for file in self._folder.glob("*-pid")}
        return {int(number): int(text) for number, text in texts.items() if text}

    def running(self) -> list[int]:
        """Return the numbers of those that run."""
        return sorted(number for number, pid in self.pids.items() if Path(f"/proc/{pid}").exists())

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not condition():
                await asyncio.sleep(0.01)

    async def exit_code(self, number: int | None = signal.SIGTERM) -> int:
        """Send this process a signal and wait for the supervisor's end."""
        if number is not None:
            os.kill(os.getpid(), number)
        async with asyncio.timeout(20):
            return await self._task


@asynccontextmanager
async def supervising(folder: Path, listener: socket.socket, script: str, count: int = 1) -> AsyncIterator[Running]:
    """Give a supervisor of processes that run a script. It must have ended, and its processes too, with the context."""
    running = Running(folder, listener, script, count)
    yield running
    assert running._task.done()
    assert running.running() == []


def accepts(listener: socket.socket) -> bool:
    try:
        with socket.create_connection(listener.getsockname()):
            return True
    except OSError:
        return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_it_keeps_as_many_as_it_was_told_until_it_is_told_to_stop(
    tmp_path: Path, listener: socket.socket, number: int, caplog: pytest.LogCaptureFixture
) -> None:
    async with supervising(tmp_path, listener, SERVES, count=2) as service:
        await service.until(lambda: accepts(listener))
        await service.until(lambda: service.running() == [1, 2])
        os.kill(service.pids[1], signal.SIGKILL)
        await service.until(lambda: service.running() == [2, 3])
        assert (tmp_path / "1.ended").exists()
        assert not (tmp_path / "2.ended").exists()
        assert await service.exit_code(number) == 0
    assert caplog.messages == [f"HTTP process {service.pids[1]} was ended by signal 9 (Killed)"]


async def test_a_process_that_ends_before_it_is_ready_is_started_again_a_little_later(
    tmp_path: Path, listener: socket.socket, caplog: pytest.LogCaptureFixture
) -> None:
    async with supervising(tmp_path, listener, "sys.exit(7) if number < 3 else serve()") as service:
        await service.until(lambda: accepts(listener))
        assert await service.exit_code() == 0
    assert caplog.messages == [f"HTTP process {service.pids[number]} ended with exit code 7" for number in (1, 2)]


async def test_a_process_that_cannot_start_with_its_settings_ends_all(tmp_path: Path, listener: socket.socket) -> None:
    async with supervising(
        tmp_path, listener, f"sys.exit({BAD_START}) if number == 3 else serve()", count=2
    ) as service:
        await service.until(lambda: accepts(listener))
        await service.until(lambda: service.running() == [1, 2])
        os.kill(service.pids[2], signal.SIGKILL)
        assert await service.exit_code(None) == BAD_START


async def test_a_slow_start_is_waited_for_and_silence_after_it_is_a_hang(
    tmp_path: Path, listener: socket.socket, caplog: pytest.LogCaptureFixture
) -> None:
    script = "time.sleep(1.5 if number == 1 else 0); channel.send(b'w'); time.sleep(60 if number == 1 else 0); serve()"
    async with supervising(tmp_path, listener, script) as service:
        await service.until(lambda: service.running() == [1])
        first = service.pids[1]
        await service.until(lambda: accepts(listener))
        assert service.running() == [1], "its start took longer than it may be silent"
        await service.until(lambda: service.running() == [2])
        await asyncio.sleep(1)
        assert service.running() == [2]
        assert await service.exit_code() == 0
    hangs, ended = caplog.messages
    assert hangs.startswith(f"HTTP process {first} has said nothing for ")
    assert ended == f"HTTP process {first} was ended by signal 9 (Killed)"


IGNORES = "signal.signal(signal.SIGTERM, signal.SIG_IGN); channel.send(b'w'); time.sleep(60)"


async def test_one_that_does_not_stop_in_time_is_killed(tmp_path: Path, listener: socket.socket) -> None:
    async with supervising(tmp_path, listener, IGNORES) as service:
        await service.until(lambda: accepts(listener))
        assert await service.exit_code() == 0


async def test_told_twice_it_stops_at_once(
    tmp_path: Path, listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "KILL_S", 60)
    async with supervising(tmp_path, listener, IGNORES) as service:
        await service.until(lambda: accepts(listener))
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.sleep(0.2)
        assert service.running() == [1]
        assert await service.exit_code() == 0


async def test_told_to_stop_it_waits_for_none_that_is_not_ready_yet(
    tmp_path: Path, listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "KILL_S", 60)
    async with supervising(tmp_path, listener, "time.sleep(60)") as service:
        await service.until(lambda: service.running() == [1])
        assert await service.exit_code() == 0


async def test_a_hangup_replaces_each_by_a_new_one_that_is_ready(
    tmp_path: Path, listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "KILL_S", 60)
    script = """
open(counts + "-others", "w").write(" ".join(os.listdir(os.path.dirname(counts))))
try:
    serve()
finally:
    time.sleep(0.5)
"""
    async with supervising(tmp_path, listener, script, count=2) as service:
        await service.until(lambda: accepts(listener))
        await service.until(lambda: service.running() == [1, 2])
        os.kill(os.getpid(), signal.SIGHUP)
        os.kill(os.getpid(), signal.SIGHUP)  # one is enough
        await service.until(lambda: service.running() == [3, 4])
        await asyncio.sleep(0.2)
        assert service.running() == [3, 4]
        assert await service.exit_code() == 0
    ended_by_then = {number: (tmp_path / f"{number}-others").read_text().count(".ended") for number in (3, 4)}
    assert ended_by_then == {3: 0, 4: 1}, "one after the other"


async def test_after_a_hangup_the_old_ones_go_on_if_a_new_one_does_not_get_ready(
    tmp_path: Path, listener: socket.socket, caplog: pytest.LogCaptureFixture
) -> None:
    script = f"sys.exit({BAD_START}) if number == 3 else serve()"
    async with supervising(tmp_path, listener, script, count=2) as service:
        await service.until(lambda: accepts(listener))
        await service.until(lambda: service.running() == [1, 2])
        os.kill(os.getpid(), signal.SIGHUP)
        await service.until(lambda: 3 in service.pids)
        await service.until(lambda: bool(caplog.messages))
        assert service.running() == [1, 2]
        assert await service.exit_code() == 0
    assert caplog.messages == [f"HTTP process {service.pids[3]} ended with exit code 2; those that run go on"]


async def test_where_the_system_has_no_room_for_a_process_it_is_tried_again(
    tmp_path: Path, listener: socket.socket, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    start, failing = asyncio.create_subprocess_exec, [True, True]

    async def sometimes(*arguments: object, **more: object) -> object:
        if failing:
            failing.pop()
            raise BlockingIOError(11, "Resource temporarily unavailable")
        return await start(*arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(asyncio, "create_subprocess_exec", sometimes)
    async with supervising(tmp_path, listener, SERVES) as service:
        await service.until(lambda: accepts(listener))
        assert await service.exit_code() == 0
    assert caplog.messages == ["an HTTP process cannot be started: Resource temporarily unavailable"] * 2
