"""`mobilenet reload` and SIGHUP reach the one service that is meant, and a terminal that is closed ends it."""

import asyncio
import os
import pty
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from app import control
from app.control import PEER, heeding
from app.errors import StartError
from app.reload import Outcome, Reloads
from tests.support.data import REPOSITORY

OWN = f"mobilenet/{os.getuid()}/{os.getpid()}"


class Reloading:
    """Counts how often it was told to reload."""

    count = 0

    async def reload(self) -> Outcome:
        """Count."""
        self.count += 1
        return Outcome(True, f"number {self.count}")


@asynccontextmanager
async def listening() -> AsyncIterator[Reloading]:
    told = Reloading()
    async with heeding(Reloads(told.reload, lambda _: None)):
        yield told


async def ask(pid: int | None = None) -> Outcome:
    return await asyncio.wait_for(asyncio.to_thread(control.ask, pid), 10)


def sockets(folder: Path, *names: str) -> Path:
    """Return a file like Linux' list of sockets, with those of these names and others."""
    lines = ["Num RefCount Protocol Flags Type St Inode Path", *(f"0: 2 0 10000 1 1 7 @{name}" for name in names)]
    (folder / "unix").write_text("\n".join([*lines, "0: 2 0 0 1 1 8", "0: 2 0 10000 1 1 9 /run/other", "0: 2 0 1 9"]))
    return folder / "unix"


async def test_who_asks_gets_the_outcome_of_a_reload(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(control, "SOCKETS", sockets(tmp_path, OWN, OWN))  # twice, while somebody is connected
    async with listening():
        assert await ask() == Outcome(True, "number 1")
        assert await ask(os.getpid()) == Outcome(True, "number 2")


@pytest.mark.parametrize(
    ("names", "pid", "says"),
    [
        ([], None, "no service of this user runs here that could reload"),
        ([], 7, "no service of this user runs here that could reload"),
        (["7", "12"], None, "several services run, as processes 7, 12; say which one: mobilenet reload PID"),
        (["7", "12"], 8, "process 8 is not a service of this user; running: 7, 12"),
        (["7"], None, "the service cannot be asked to reload: Connection refused"),
    ],
)
def test_without_the_one_service_that_is_meant_a_line_says_so(
    names: list[str], pid: int | None, says: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 424242)
    there = sockets(tmp_path, *(f"mobilenet/424242/{name}" for name in names), "mobilenet/1/3", "mobilenet/424242/x/y")
    monkeypatch.setattr(control, "SOCKETS", there)
    with pytest.raises(StartError) as caught:
        control.ask(pid)
    assert str(caught.value) == says


async def test_another_user_is_not_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "_trusted", lambda writer: False)
    async with listening() as told:
        assert (await ask(os.getpid())).said == "the service ended before it had reloaded"
        assert told.count == 0


@pytest.mark.parametrize(("user", "trusted"), [(0, True), (1000, True), (1001, False)])
def test_only_root_and_the_same_user_are_trusted(user: int, trusted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    class Writer:
        def get_extra_info(self, _: str) -> "Writer":
            return self

        def getsockopt(self, *_: int) -> bytes:
            return PEER.pack(1, user, 1)

    monkeypatch.setattr(os, "getuid", lambda: 1000)
    assert control._trusted(Writer()) == trusted  # type: ignore[arg-type]


async def test_on_another_thread_there_is_no_signal_and_no_socket() -> None:
    def inside() -> None:
        async def main() -> None:
            async with listening():
                with pytest.raises(StartError):
                    control.ask(os.getpid())

        asyncio.run(main())

    await asyncio.to_thread(inside)


async def test_a_hangup_of_the_start_is_made_up_for(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.getsignal(signal.SIGHUP)
    try:
        control.remember_hangup()
        os.kill(os.getpid(), signal.SIGHUP)
        async with listening():
            assert (await ask(os.getpid())).said == "number 2"
        async with listening():
            assert (await ask(os.getpid())).said == "number 1", "the hangup is made up for once"
    finally:
        signal.signal(signal.SIGHUP, before)


ON_TERMINAL = """
import asyncio, signal
from app import control
from app.reload import Outcome, Reloads

async def reload():
    print("reloads", flush=True)
    return Outcome(True, "")

async def main():
    control.remember_hangup()
    stops = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stops.set)
    async with control.heeding(Reloads(reload, lambda _: None)):
        print("ready", flush=True)
        await stops.wait()
    print("stops", flush=True)

asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("behind", "close", "says"),
    [
        ([], True, "stops"),
        ([], False, "reloads"),
        (["nohup"], True, "reloads"),
    ],
)
def test_a_hangup_is_told_from_a_terminal_that_is_closed(
    behind: list[str], close: bool, says: str, tmp_path: Path
) -> None:
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "rb", buffering=0) as terminal, (tmp_path / "err").open("wb") as errors:
        command = ["setsid", "--ctty", *behind, sys.executable, "-c", ON_TERMINAL]
        pipe: Callable[..., subprocess.Popen[bytes]] = subprocess.Popen
        with pipe(command, stdin=theirs, stdout=subprocess.PIPE, stderr=errors, cwd=REPOSITORY) as popen:
            os.close(theirs)
            assert popen.stdout is not None
            assert popen.stdout.readline() == b"ready\n"
            terminal.close() if close else popen.send_signal(signal.SIGHUP)
            assert popen.stdout.readline().decode().strip() == says
            popen.terminate()
