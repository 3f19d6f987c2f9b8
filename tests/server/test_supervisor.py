"""Processes that end are replaced, those that start slowly are left alone, those that hang are killed, and all reload.

Small scripts stand for the HTTP processes: what is forked becomes one of them.
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

from app import control
from app.errors import BAD_START
from app.observability.metrics import Metrics
from app.observability.snapshots import Snapshots
from app.reload import Outcome
from app.server import supervisor
from app.server.listener import listener as bound_listener
from app.server.process import HttpProcess
from app.server.supervisor import Supervisor
from app.server.template import FAILED, Serve, Template
from tests.support.client import parsed

BEGIN = """
import json, os, signal, socket, sys, time
channel, control = (socket.socket(fileno=int(sys.argv[place])) for place in (1, 3))
counts = sys.argv[2]
number = int(os.path.basename(counts))
open(counts + "-pid", "w").write(str(os.getpid()))
control.setblocking(False)

def told_to_reload():
    try:
        return control.recv(100)
    except OSError:
        return b""

def reload():
    open(counts + "-reload", "w").write(str(time.monotonic()))
    time.sleep(0.1)
    return True, f"new {number}"

def serve(reload=reload):
    channel.settimeout(0.02)
    while True:
        channel.send(b"w")
        if told_to_reload():
            control.send(json.dumps(reload()).encode() + b"\\n")
        try:
            if not channel.recv(1):
                sys.exit()
        except TimeoutError:
            pass
"""
SERVES = "serve()"


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"WELL_S": 0.05, "RETRY_S": 0.05, "KILL_S": 0.3}.items():
        monkeypatch.setattr(supervisor, name, value)


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        yield made


def running(script: str) -> Serve:
    """Return what becomes a process that runs a script."""

    def serve(channel: socket.socket, counts: Path, control: socket.socket) -> None:
        for kept in (channel, control):
            kept.set_inheritable(True)
        arguments = (str(channel.fileno()), str(counts), str(control.fileno()))
        os.execv(sys.executable, [sys.executable, "-c", BEGIN + script, *arguments])

    return serve


class Running:
    """A supervisor at work."""

    def __init__(self, folder: Path, listener: socket.socket, script: str, count: int) -> None:
        self._folder = folder
        self.template = Template.start(running(script))
        self.said: list[str] = []
        self.supervisor = Supervisor(self.template, folder, 0)
        self._task = asyncio.create_task(self.supervisor.run(listener, count, lambda: self.said.append("ready")))

    @property
    def pids(self) -> dict[int, int]:
        """The processes that were started, by their numbers."""
        texts = {file.name.removesuffix("-pid"): file.read_text() for file in self._folder.glob("*-pid")}
        return {int(number): int(text) for number, text in texts.items() if text}

    def in_turn(self) -> list[int]:
        """Return the process ids of those that get connections."""
        ready = self.supervisor._acceptor._ready
        return sorted(process.pid for process in self.supervisor._processes if process.channel in ready)

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
    service = Running(folder, listener, script, count)
    yield service
    assert service._task.done()
    assert service.running() == []


def accepts(listener: socket.socket) -> bool:
    try:
        with socket.create_connection(listener.getsockname()):
            return True
    except OSError:
        return False


async def test_killing_a_process_that_has_ended_meanwhile_is_no_error(tmp_path: Path) -> None:
    template = Template.start(lambda *_: None)
    template.begin(lambda: None)
    process = await HttpProcess.start(template, tmp_path / "1")
    assert await process.ended == 0
    process.kill()
    process.close()
    process.channel.close()
    template.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_it_keeps_as_many_as_it_was_told_until_it_is_told_to_stop(
    tmp_path: Path, listener: socket.socket, number: int, caplog: pytest.LogCaptureFixture
) -> None:
    async with supervising(tmp_path, listener, SERVES, count=2) as service:
        await service.until(lambda: service.running() == [1, 2])
        assert os.getpgid(service.pids[1]) == service.pids[1], "Ctrl-C would reach it, and not the supervisor alone"
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


async def test_where_another_service_listens_first_it_says_so_and_ends(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with bound_listener("127.0.0.1", 0) as other, bound_listener(*other.getsockname()) as listener:
        other.listen()
        async with supervising(tmp_path, listener, SERVES, count=2) as service:
            assert await service.exit_code(None) == BAD_START
        port = other.getsockname()[1]
    assert caplog.messages == [f"http://127.0.0.1:{port}: cannot listen there: Address already in use"]
    assert service.said == []
    assert [*service.pids] == [1]


async def test_a_process_that_cannot_start_with_its_settings_ends_all(tmp_path: Path, listener: socket.socket) -> None:
    async with supervising(
        tmp_path, listener, f"sys.exit({BAD_START}) if number == 3 else serve()", count=2
    ) as service:
        await service.until(lambda: accepts(listener))
        await service.until(lambda: service.running() == [1, 2])
        assert os.getpgid(service.pids[1]) == service.pids[1], "Ctrl-C would reach it, and not the supervisor alone"
        os.kill(service.pids[2], signal.SIGKILL)
        assert await service.exit_code(None) == BAD_START


SLOW = """
if number == 2:
    time.sleep(4)
    open(counts + "-started", "w").close()
    channel.send(b"w")
    time.sleep(60)
serve()
"""


async def test_a_slow_start_is_waited_for_and_silence_after_it_is_a_hang(
    tmp_path: Path, listener: socket.socket, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(supervisor, "HANG_S", 3)  # with less, one that the CPU has no time for would be killed, too
    async with supervising(tmp_path, listener, SLOW, count=2) as service:
        await service.until(lambda: service.running() == [1, 3])
        slow = service.pids[2]
        assert (tmp_path / "2-started").exists(), "its start took longer than it may be silent"
        assert await service.exit_code() == 0
    hangs, ended = caplog.messages
    assert hangs.startswith(f"HTTP process {slow} has said nothing for ")
    assert ended == f"HTTP process {slow} was ended by signal 9 (Killed)"


async def test_one_that_says_nothing_gets_no_connections_until_it_speaks_and_of_several_one_still_does(
    tmp_path: Path, listener: socket.socket, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(supervisor, "QUIET_S", 0.5)
    async with supervising(tmp_path, listener, SERVES, count=2) as service:
        await service.until(lambda: service.running() == [1, 2])
        await service.until(lambda: len(service.in_turn()) == 2)
        first, second = service.supervisor._processes
        os.kill(first.pid, signal.SIGSTOP)
        await service.until(lambda: service.in_turn() == [second.pid])
        os.kill(second.pid, signal.SIGSTOP)
        await service.until(lambda: second.silent_s > 2 * supervisor.QUIET_S)
        assert service.in_turn() == [second.pid]
        os.kill(first.pid, signal.SIGCONT)
        await service.until(lambda: service.in_turn() == [first.pid])
        os.kill(second.pid, signal.SIGCONT)
        await service.until(lambda: len(service.in_turn()) == 2)
        assert await service.exit_code() == 0
    assert caplog.messages == []


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


async def test_all_reload_one_after_the_other_and_go_on(
    tmp_path: Path, listener: socket.socket, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    async with supervising(tmp_path, listener, SERVES, count=2) as service:
        await service.until(lambda: service.running() == [1, 2])
        os.kill(os.getpid(), signal.SIGHUP)
        await service.until(lambda: bool(caplog.messages))
        assert await asyncio.to_thread(control.ask, os.getpid()) == Outcome(True, "new 2")
        assert service.running() == [1, 2]
        assert counted(tmp_path) == {"swapped": 2, "refused": 0}
        assert await service.exit_code() == 0
    assert caplog.messages == ["reloaded: new 2"] * 2
    first, second = (float((tmp_path / f"{number}-reload").read_text()) for number in (1, 2))
    assert second - first > 0.1


def counted(folder: Path) -> dict[str, float]:
    """Return how many reloads an HTTP process that is asked for metrics knows of, by their outcome."""
    found = parsed(Metrics(Snapshots(folder / "99")).render().decode())
    return {outcome: found["mobilenet_reloads_total", outcome] for outcome in ("swapped", "refused")}


@pytest.mark.parametrize(
    ("refuses", "says"),
    [(1, "damaged"), (2, "damaged; other HTTP processes serve new 1 already")],
)
async def test_the_first_that_refuses_to_reload_keeps_the_others_from_trying_and_all_go_on(
    refuses: int, says: str, tmp_path: Path, listener: socket.socket, caplog: pytest.LogCaptureFixture
) -> None:
    script = f"serve(lambda: (False, 'damaged') if number == {refuses} else reload())"
    async with supervising(tmp_path, listener, script, count=3) as service:
        await service.until(lambda: service.running() == [1, 2, 3])
        assert await asyncio.to_thread(control.ask, os.getpid()) == Outcome(False, says)
        assert service.running() == [1, 2, 3]
        assert not (tmp_path / "3-reload").exists()
        assert counted(tmp_path) == {"swapped": 0, "refused": 1}
        assert await service.exit_code() == 0
    assert caplog.messages == [f"not reloaded; the old model keeps serving: {says}"]


async def test_one_that_is_not_ready_yet_is_waited_for_since_it_may_have_read_the_old_files(
    tmp_path: Path, listener: socket.socket
) -> None:
    async with supervising(tmp_path, listener, f"time.sleep(number == 3); {SERVES}", count=2) as service:
        await service.until(lambda: {1, 2} <= set(service.pids))
        os.kill(service.pids[1], signal.SIGKILL)
        await service.until(lambda: 3 in service.pids)
        assert await asyncio.to_thread(control.ask, os.getpid()) == Outcome(True, "new 3")
        assert await service.exit_code() == 0


async def test_a_hangup_before_there_is_a_process_is_heeded_when_there_is_one(
    tmp_path: Path, listener: socket.socket, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    before = signal.getsignal(signal.SIGHUP)
    control.remember_hangup()
    os.kill(os.getpid(), signal.SIGHUP)
    async with supervising(tmp_path, listener, SERVES) as service:
        await service.until(lambda: bool(caplog.messages))
        assert await service.exit_code() == 0
    signal.signal(signal.SIGHUP, before)
    assert caplog.messages == ["reloaded: new 1"]


async def test_one_that_ends_instead_of_reloading_is_replaced_and_the_others_reload(
    tmp_path: Path, listener: socket.socket
) -> None:
    script = "serve(lambda: sys.exit(1) if number == 1 else reload())"
    async with supervising(tmp_path, listener, script, count=2) as service:
        await service.until(lambda: service.running() == [1, 2])
        assert await asyncio.to_thread(control.ask, os.getpid()) == Outcome(True, "new 2")
        await service.until(lambda: service.running() == [2, 3])
        assert await service.exit_code() == 0


async def test_told_to_stop_it_waits_for_no_reload(
    tmp_path: Path, listener: socket.socket, caplog: pytest.LogCaptureFixture
) -> None:
    script = "serve(lambda: (open(counts + '-reload', 'w').close(), time.sleep(60)))"
    async with supervising(tmp_path, listener, script, count=2) as service:
        await service.until(lambda: service.running() == [1, 2])
        asking = asyncio.create_task(asyncio.to_thread(control.ask, os.getpid()))
        await service.until((tmp_path / "1-reload").exists)
        assert await service.exit_code() == 0
        assert await asking == Outcome(False, "the service is stopping")
    assert caplog.messages == []


async def test_where_the_system_has_no_room_for_a_process_it_is_tried_again(
    tmp_path: Path, listener: socket.socket, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fork, failing = os.fork, [False, True, True]  # the first fork is that of the template

    def sometimes() -> int:
        if failing and failing.pop(0):
            raise BlockingIOError(11, "Resource temporarily unavailable")
        return fork()

    monkeypatch.setattr(os, "fork", sometimes)
    async with supervising(tmp_path, listener, SERVES) as service:
        await service.until(lambda: accepts(listener))
        assert await service.exit_code() == 0
    first, second = caplog.messages
    assert first == second
    assert first.startswith("an HTTP process cannot be started: Resource temporarily unavailable; is the number of")


async def test_the_others_start_when_the_first_is_ready(tmp_path: Path, listener: socket.socket) -> None:
    script = "while number == 1 and not os.path.exists(counts + '-go'): time.sleep(0.01)\n" + SERVES
    async with supervising(tmp_path, listener, script, count=3) as service:
        await service.until(lambda: service.running() == [1])
        await asyncio.sleep(0.2)
        assert (service.running(), service.said) == ([1], [])
        (tmp_path / "1-go").touch()
        await service.until(lambda: service.running() == [1, 2, 3])
        assert service.said == ["ready"]
        assert await service.exit_code() == 0


async def test_where_the_first_cannot_start_with_its_settings_there_are_no_others_and_it_alone_says_so(
    tmp_path: Path, listener: socket.socket, caplog: pytest.LogCaptureFixture
) -> None:
    async with supervising(tmp_path, listener, f"sys.exit({BAD_START})", count=2) as service:
        assert await service.exit_code(None) == BAD_START
        assert set(service.pids) == {1}
        assert not service.said
    assert caplog.messages == []


# A handler in Python would not run if the signal came in the instant before the process sleeps.
STARTS = """
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
open(counts + "-heeds", "w").close()
if signal.sigtimedwait({signal.SIGTERM}, 60):
    open(counts + "-end", "w").close()
"""


async def test_one_that_is_not_ready_may_end_in_order_when_all_are_told_to_stop(
    tmp_path: Path, listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "KILL_S", 60)
    async with supervising(tmp_path, listener, STARTS) as service:
        await service.until((tmp_path / "1-heeds").exists)
        assert await service.exit_code() == 0
    assert (tmp_path / "1-end").exists()


ANSWERS_FIRST = """
try:
    serve()
finally:
    time.sleep(0.2)
    open(counts + "-answered", "w").close()
"""


async def test_without_what_forks_the_processes_it_ends_once_they_have_answered_what_they_had(
    tmp_path: Path, listener: socket.socket, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "KILL_S", 60)
    async with supervising(tmp_path, listener, ANSWERS_FIRST, count=2) as service:
        await service.until(lambda: service.running() == [1, 2])
        await service.until(lambda: len(service.in_turn()) == 2)  # one that is not ready would be ended at once
        os.kill(service.template.pid, signal.SIGKILL)
        assert await service.exit_code(None) == FAILED
        assert sorted(tmp_path.glob("*-answered")) == [tmp_path / "1-answered", tmp_path / "2-answered"]
        await service.until(lambda: service.running() == [])
    (said,) = caplog.messages
    assert said.startswith("the process that forks the HTTP processes ended; ")
