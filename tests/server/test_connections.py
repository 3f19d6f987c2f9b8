"""A process has as many connections as its open files allow; more of them wait, and are told of in a line a second."""

import asyncio
import errno
import resource
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from unittest.mock import Mock

import pytest

from app.config import Settings
from app.errors import StartError
from app.machine import open_files_limit
from app.server import connections
from app.server import listening as connecting
from app.server.connections import FEWEST, OTHER_FILES, WORKER_FILES, Bound, most_connections
from app.server.listener import BACKLOG
from app.server.listening import Listening


@pytest.fixture
def limit() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_the_limit_of_open_files_is_raised_as_far_as_it_goes(limit: None) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard - 100, hard))
    assert open_files_limit() == hard
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)


def test_there_are_files_left_for_the_workers_and_all_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "open_files_limit", lambda: 100)
    assert most_connections(Settings(model_workers=4)) == 100 - OTHER_FILES - 4 * WORKER_FILES
    fitting = (100 - OTHER_FILES - FEWEST) // WORKER_FILES
    assert most_connections(Settings(model_workers=fitting)) == FEWEST
    with pytest.raises(StartError, match=r"may have 100 open files \(ulimit -n\); .* needs at least 102"):
        most_connections(Settings(model_workers=fitting + 1))


def test_grpc_has_a_quarter_of_the_files_and_a_thousand_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(model_workers=4, grpc_port=0)
    for limit, of_grpc in ((100, 25), (4096, 1024), (1_000_000, 1024)):
        monkeypatch.setattr(connections, "open_files_limit", lambda limit=limit: limit)
        assert most_connections(settings) == limit - OTHER_FILES - 4 * WORKER_FILES - of_grpc
    monkeypatch.setattr(connections, "open_files_limit", lambda: 50)
    with pytest.raises(StartError, match="needs at least 63"):
        most_connections(settings)
    monkeypatch.setattr(connections, "open_files_limit", lambda: 63)
    assert most_connections(settings) == FEWEST


def test_at_the_bound_no_more_are_taken_until_one_is_closed(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now_s, called = [0.0], Counter[str]()
    monkeypatch.setattr(connections, "monotonic", lambda: now_s[0])
    bound = Bound(3, *(partial(called.update, [what]) for what in ("pause", "resume", "counted")))
    for number in (1, 2):
        bound.open(number)
    assert not called
    for number in (3, 4):
        bound.open(number)
    assert called == {"pause": 1, "counted": 1}
    for number in (3, 2, 1):
        bound.open(number)
    assert called == {"pause": 1, "counted": 1, "resume": 1}
    for now_s[0] in (0.5, 0.9, 1.0):
        for number in (3, 2):
            bound.open(number)
    assert called == {"pause": 4, "counted": 4, "resume": 4}
    assert len(caplog.messages) == 2, "at most one a second"
    assert caplog.messages[0].startswith("3 connections are open, as many as the limit of open files allows")


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


async def test_a_process_that_is_alone_leaves_connections_in_the_kernel_during_a_pause() -> None:
    made = list[asyncio.BaseTransport]()

    class Made(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            """Keep it, and pause at the third."""
            made.append(transport)
            if len(made) == 3:
                listening.pause()

    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        listening = Listening(bound, Made)
        await listening.start()
        clients = [socket.create_connection(bound.getsockname()) for _ in range(3)]
        await until(lambda: len(made) == 3)
        clients += [socket.create_connection(bound.getsockname()) for _ in range(3)]
        await asyncio.sleep(0.05)
        assert len(made) == 3
        listening.resume()
        await until(lambda: len(made) == 6)
        listening.resume()
        listening.close()  # also of what has just been resumed
        assert listening._starting
        await asyncio.wait([listening._starting], timeout=10)
        assert listening._starting.cancelled()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", clients[0].getpeername()[1]))
    for transport in made:
        transport.close()
    for client in clients:
        client.close()


@pytest.mark.parametrize(("backlog", "taken"), [(BACKLOG, 3), (2, 2)], ids=["those that wait", "not without end"])
async def test_connections_that_wait_during_a_pause_are_taken_at_the_end(
    backlog: int, taken: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = list[asyncio.BaseTransport]()

    class Made(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            made.append(transport)

    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        listening = Listening(bound, Made)
        await listening.start()
        listening.pause()
        clients = [socket.create_connection(bound.getsockname()) for _ in range(3)]
        monkeypatch.setattr(connecting, "BACKLOG", backlog)
        await listening.take_last()
        listening.close()
    assert len(made) == taken
    for transport in made:
        transport.close()
    for client in clients:
        client.close()


async def test_connections_are_taken_again_once_there_is_a_descriptor(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(connecting, "NO_ROOM_S", 0.01)
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        bound.listen()
        full = Mock(wraps=bound, dup=Mock(side_effect=[OSError(errno.EMFILE, "Too many open files"), bound.dup()]))
        listening = Listening(full, asyncio.Protocol)
        listening.resume()
        assert listening._starting
        async with asyncio.timeout(10):
            await listening._starting
        assert listening._server
        listening.close()
    assert caplog.messages == ["no connections can be taken for now: Too many open files"]
