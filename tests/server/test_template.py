"""The processes that the template forks begin with nothing of the supervisor, and their ends are told."""

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from unittest.mock import Mock

import pytest

from app.server.process import HttpProcess
from app.server.template import Serve, Template


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as made:
        yield made


@asynccontextmanager
async def forked(serve: Serve, folder: Path) -> AsyncIterator[tuple[Template, HttpProcess]]:
    template = Template.start(serve)
    template.begin(lambda: None)
    process = await HttpProcess.start(template, folder / "1")
    yield template, process
    process.kill()
    await process.ended
    process.close()
    process.channel.close()
    template.close()


def fails(*_: object) -> None:
    raise ValueError("what is wrong")


@pytest.mark.parametrize(
    ("serve", "code"),
    [
        (lambda *_: None, 0),
        (lambda *_: sys.exit(), 0),
        (lambda *_: sys.exit(7), 7),
        (lambda *_: sys.exit("in words"), 1),
        (fails, 1),
        (lambda *_: os.kill(os.getpid(), signal.SIGKILL), -signal.SIGKILL),
    ],
    ids=["returns", "exits", "exits with a code", "exits with words", "fails", "is killed"],
)
async def test_the_end_of_a_process_is_told_and_it_goes_on_with_nothing_that_was_under_way_where_it_was_forked(
    serve: Serve, code: int, tmp_path: Path
) -> None:
    (tmp_path / "kept").touch()
    try:
        async with forked(serve, tmp_path) as (_, process), asyncio.timeout(20):
            assert await process.ended == code
            assert (tmp_path / "kept").exists()
    finally:
        (tmp_path / "kept").unlink()  # which a process that came back here would do first


def report(channel: socket.socket, counts: Path, control: socket.socket) -> None:
    signals = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)]
    expected = [signal.SIG_DFL, signal.default_int_handler, signal.SIG_IGN, signal.SIG_DFL]
    sockets = []
    for name in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # that of the listing
            sockets.append(os.readlink(f"/proc/self/fd/{name}"))
    listening = Path("/proc/net/tcp").read_text()
    theirs = [line.split()[9] for line in listening.splitlines()[1:] if line.split()[3] == "0A"]
    held = [one for one in theirs if f"socket:[{one}]" in sockets]
    own = len(os.listdir("/proc/self/task")), os.getpgid(0) == os.getpid(), os.readlink("/proc/self/fd/0")
    counts.write_text(repr((signals == expected, held, *own)))


async def test_a_process_has_its_own_signals_and_group_one_thread_no_input_and_not_the_listener(
    listener: socket.socket, tmp_path: Path
) -> None:
    async with forked(report, tmp_path) as (_, process), asyncio.timeout(20):
        assert await process.ended == 0
    assert (tmp_path / "1").read_text() == repr((True, [], 1, True, os.devnull))


async def test_a_process_that_could_not_be_asked_for_leaves_the_answers_to_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    template = Template.start(lambda *_: None)
    template.begin(lambda: None)
    with monkeypatch.context() as patched:
        patched.setattr(socket, "send_fds", Mock(side_effect=BlockingIOError))
        with pytest.raises(BlockingIOError):
            await HttpProcess.start(template, tmp_path / "1")
    async with asyncio.timeout(20):
        process = await HttpProcess.start(template, tmp_path / "2")
        assert await process.ended == 0
    process.close()
    process.channel.close()
    template.close()


async def test_the_template_outlives_the_signals_of_the_terminal_and_ends_with_the_supervisor(tmp_path: Path) -> None:
    async with forked(lambda *_: time.sleep(60), tmp_path) as (template, process):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(template.pid, number)
        other = await HttpProcess.start(template, tmp_path / "2")
        assert other.pid != process.pid
        other.kill()
        async with asyncio.timeout(20):
            assert await other.ended == -signal.SIGKILL
        other.close()
        other.channel.close()
    assert not Path(f"/proc/{template.pid}").exists()
