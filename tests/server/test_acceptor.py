"""Several processes get as many connections each, once they are ready, and with one that ends none is lost."""

import asyncio
import errno
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from typing import Any
from unittest.mock import Mock

import pytest

from app.errors import StartError
from app.server.acceptor import LINGER_S, Accepted, Acceptor


class Process:
    """What stands for a process: says its name on each connection that it gets."""

    def __init__(self, name: str, acceptor: Acceptor) -> None:
        self.name = name
        self.times_well = 0
        self.left = asyncio.Event()
        self.acceptors, self.channel = socket.socketpair()
        self.acceptors.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)  # the least: soon full
        acceptor.add(self.acceptors, self._well)

    def _well(self) -> None:
        self.times_well += 1

    def ready(self) -> None:
        """Take connections from now on."""
        self.taking = Accepted(self.channel, lambda: Greeting(self.name.encode()), self.left.set)

    def hang(self) -> None:
        """Take no more connections and say nothing, without an end."""
        self.taking.close()

    def end(self) -> None:
        """Be no more."""
        self.taking.close()
        self.channel.close()


class Greeting(asyncio.Protocol):
    def __init__(self, text: bytes) -> None:
        self._text = text

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say it, and close."""
        assert isinstance(transport, asyncio.Transport)
        transport.write(self._text)
        transport.close()


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        yield made


@pytest.fixture
async def acceptor(listener: socket.socket) -> AsyncIterator[Acceptor]:
    failed: list[StartError] = []
    made = Acceptor(listener, failed.append)
    yield made
    await made.close()
    assert failed == []


async def greeted(port: int) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        return (await asyncio.wait_for(reader.read(), 10)).decode()
    finally:
        writer.close()
        await writer.wait_closed()


async def first_greeted(port: int, name: str) -> None:
    """Wait until this one greets."""
    said = ""
    while said != name:
        try:
            said = await greeted(port)
        except ConnectionRefusedError:  # none is ready yet
            await asyncio.sleep(0.01)


async def test_each_gets_as_many_once_it_is_ready(listener: socket.socket, acceptor: Acceptor) -> None:
    port = listener.getsockname()[1]
    a, b, c = (Process(name, acceptor) for name in "abc")
    with pytest.raises(ConnectionRefusedError):
        await greeted(port)
    a.ready()
    b.ready()
    await first_greeted(port, "b")
    assert Counter([await greeted(port) for _ in range(20)]) == {"a": 10, "b": 10}
    c.ready()
    await first_greeted(port, "c")
    assert Counter(await asyncio.gather(*(greeted(port) for _ in range(30)))) == {"a": 10, "b": 10, "c": 10}
    for one in (a, b, c):
        one.end()


async def test_with_one_that_ends_no_connection_is_lost_and_without_any_they_wait(
    listener: socket.socket, acceptor: Acceptor
) -> None:
    port = listener.getsockname()[1]
    first, second, third = (Process(name, acceptor) for name in ("first", "second", "third"))
    first.ready()
    second.ready()
    await first_greeted(port, "second")
    first.end()
    assert {await greeted(port) for _ in range(10)} == {"second"}
    second.end()
    waiting = asyncio.create_task(greeted(port))
    await asyncio.sleep(0.1)
    assert not waiting.done()
    assert not acceptor._ready
    third.ready()
    assert await waiting == "third"
    third.end()


async def test_more_than_they_take_in_a_moment_wait(listener: socket.socket, acceptor: Acceptor) -> None:
    port = listener.getsockname()[1]
    one = Process("one", acceptor)
    one.ready()
    await first_greeted(port, "one")
    one.hang()
    waiting = [asyncio.create_task(greeted(port)) for _ in range(60)]
    await asyncio.sleep(0.1)
    assert not any(each.done() for each in waiting)
    one.ready()
    assert {await each for each in waiting} == {"one"}
    one.end()


async def test_who_hangs_keeps_few_connections_from_the_others(listener: socket.socket, acceptor: Acceptor) -> None:
    port = listener.getsockname()[1]
    hanging, well = Process("hanging", acceptor), Process("well", acceptor)
    hanging.ready()
    well.ready()
    await first_greeted(port, "hanging")
    hanging.hang()
    waiting = {asyncio.create_task(greeted(port)) for _ in range(40)}
    greetings: list[str] = []
    while len(greetings) <= 20:
        done, waiting = await asyncio.wait(waiting, timeout=10, return_when=asyncio.FIRST_COMPLETED)
        assert done, "more than half of them are lost"
        greetings += [one.result() for one in done]
    assert set(greetings) == {"well"}
    for one in waiting:
        one.cancel()
    await asyncio.wait(waiting)
    hanging.end()
    well.end()


async def test_who_is_passed_over_gets_no_connections_until_it_speaks_unless_no_other_has_room(
    listener: socket.socket, acceptor: Acceptor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.server.acceptor.WELL_S", 60)
    port = listener.getsockname()[1]
    silent, other = Process("silent", acceptor), Process("other", acceptor)
    silent.ready()
    other.ready()
    await first_greeted(port, "silent")
    await first_greeted(port, "other")
    acceptor.pass_over(silent.acceptors)
    assert {await greeted(port) for _ in range(10)} == {"other"}
    acceptor.pass_over(other.acceptors)
    acceptor.pass_over(silent.acceptors)  # as whoever counts does again and again
    assert await greeted(port) == "other", "there is nobody else"
    silent.taking.resume()
    await first_greeted(port, "silent")
    assert Counter([await greeted(port) for _ in range(10)]) == {"silent": 5, "other": 5}
    silent.end()
    other.end()


async def test_a_process_without_room_gets_no_connections_and_when_none_has_room_they_wait(
    listener: socket.socket, acceptor: Acceptor
) -> None:
    port = listener.getsockname()[1]
    full, free = Process("full", acceptor), Process("free", acceptor)
    full.ready()
    free.ready()
    await first_greeted(port, "full")
    full.taking.pause()
    await asyncio.sleep(0.05)
    assert {await greeted(port) for _ in range(10)} == {"free"}
    free.taking.pause()
    await asyncio.sleep(0.05)
    waiting = [asyncio.create_task(greeted(port)) for _ in range(10)]
    await asyncio.sleep(0.1)
    assert not any(each.done() for each in waiting)
    full.taking.resume()
    assert {await each for each in waiting} == {"full"}
    full.end()
    free.end()


async def test_a_process_without_room_says_that_it_is_well_and_takes_what_is_under_way_later(
    listener: socket.socket, acceptor: Acceptor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.server.acceptor.WELL_S", 0.01)
    port = listener.getsockname()[1]
    one = Process("one", acceptor)
    one.ready()
    await first_greeted(port, "one")
    waiting = [asyncio.create_task(greeted(port)) for _ in range(10)]
    await asyncio.sleep(0)
    one.taking.pause()
    before = one.times_well
    async with asyncio.timeout(10):
        while one.times_well <= before + 1:
            await asyncio.sleep(0.01)
    one.taking.resume()
    assert {await each for each in waiting} == {"one"}
    one.end()


async def test_a_process_without_room_takes_the_last_connections_of_an_acceptor_that_has_gone(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.server.acceptor.WELL_S", 0.01)
    ours, theirs = socket.socketpair()
    ended = asyncio.Event()
    taking = Accepted(theirs, lambda: Greeting(b"one"), ended.set)
    taking.pause()
    assert ours.recv(10)
    listener.listen()
    with theirs, socket.create_connection(listener.getsockname()) as client:
        connection, _ = listener.accept()
        with connection:
            socket.send_fds(ours, [b"c"], [connection.fileno()])
        ours.close()
        client.settimeout(10)
        assert await asyncio.to_thread(client.recv, 10) == b"one"
        async with asyncio.timeout(5):
            await ended.wait()


def connect(stack: ExitStack, listener: socket.socket, count: int) -> list[socket.socket]:
    """Return connections that wait to be accepted."""
    made = [stack.enter_context(socket.create_connection(listener.getsockname())) for _ in range(count)]
    for connection in made:
        connection.settimeout(10)
    return made


async def test_what_has_connected_before_the_end_is_not_lost_though_it_is_more_than_they_take_in_a_moment(
    listener: socket.socket, acceptor: Acceptor
) -> None:
    port = listener.getsockname()[1]
    processes = [Process(name, acceptor) for name in "ab"]
    for one in processes:
        one.ready()
        await first_greeted(port, one.name)
    with ExitStack() as stack:
        connected = connect(stack, listener, 60)
        await acceptor.close()
        said = [await asyncio.to_thread(connection.recv, 10) for connection in connected]
    assert set(said) == {b"a", b"b"}
    with pytest.raises(ConnectionRefusedError):
        await greeted(port)
    for one in processes:
        one.end()


async def test_a_process_without_room_gets_what_has_connected_before_the_end(
    listener: socket.socket, acceptor: Acceptor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.server.acceptor.WELL_S", 0.01)
    one = Process("one", acceptor)
    one.ready()
    await first_greeted(listener.getsockname()[1], "one")
    one.taking.pause()
    before = one.times_well
    async with asyncio.timeout(10):
        while one.times_well == before:
            await asyncio.sleep(0.01)
    with ExitStack() as stack:
        (connection,) = connect(stack, listener, 1)
        await acceptor.close()
        assert await asyncio.to_thread(connection.recv, 10) == b"one"
    one.end()


async def test_at_the_end_a_process_that_hangs_is_not_waited_for_without_end(
    listener: socket.socket, acceptor: Acceptor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.server.acceptor.LAST_S", 0.01)
    one = Process("one", acceptor)
    one.ready()
    await first_greeted(listener.getsockname()[1], "one")
    one.hang()
    with ExitStack() as stack:
        connect(stack, listener, 60)
        async with asyncio.timeout(10):
            await acceptor.close()
    one.end()


class NoRoom(socket.socket):
    """A socket that listens in a process which may have no more files for some time."""

    attempts = 0
    full = False

    def accept(self) -> tuple[socket.socket, Any]:
        """Count the attempt, and accept if there is room."""
        self.attempts += 1
        if self.full:
            raise OSError(errno.EMFILE, "Too many open files")
        return super().accept()


async def test_where_there_is_no_room_for_a_connection_it_is_tried_again_later(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("app.server.acceptor.NO_ROOM_S", 0.5)
    with NoRoom() as listener:
        listener.bind(("127.0.0.1", 0))
        acceptor = Acceptor(listener, Mock())
        one = Process("one", acceptor)
        one.ready()
        await first_greeted(listener.getsockname()[1], "one")
        listener.full, listener.attempts = True, 0
        waiting = asyncio.create_task(greeted(listener.getsockname()[1]))
        async with asyncio.timeout(10):
            while not listener.attempts:
                await asyncio.sleep(0)
        for _ in range(100):
            await asyncio.sleep(0)
        assert listener.attempts < 10, "it would be tried in each turn of the loop"
        listener.full = False
        assert await waiting == "one"
        await acceptor.close()
        one.end()
    assert set(caplog.messages) == {"no connections can be taken for now: Too many open files"}


@pytest.mark.parametrize("who", ["acceptor", "process"])
async def test_a_process_that_stops_gets_what_was_given_to_it_and_the_others_get_the_rest(
    listener: socket.socket, acceptor: Acceptor, who: str
) -> None:
    port = listener.getsockname()[1]
    stops, stays = Process("stops", acceptor), Process("stays", acceptor)
    stops.ready()
    stays.ready()
    await first_greeted(port, "stops")
    stops.hang()  # so that it certainly stops with connections under way to it
    waiting = [asyncio.create_task(greeted(port)) for _ in range(20)]
    async with asyncio.timeout(10):
        while sum(each.done() for each in waiting) < 5:  # they get connections in turn
            await asyncio.sleep(0.01)
    stops.ready()
    if who == "acceptor":
        acceptor.remove(stops.acceptors)
    else:
        stops.taking.leave()
    assert {await each for each in waiting} == {"stops", "stays"}
    async with asyncio.timeout(10):
        await stops.left.wait()
    assert {await greeted(port) for _ in range(5)} == {"stays"}
    assert stops.acceptors.fileno() < 0
    stops.end()
    stays.end()


async def test_a_process_that_stops_waits_for_what_the_last_connections_send() -> None:
    ours, theirs = socket.socketpair()
    stopped = asyncio.Event()
    Accepted(theirs, asyncio.Protocol, stopped.set)
    ours.close()
    began = time.monotonic()
    await stopped.wait()
    assert time.monotonic() - began >= LINGER_S
    theirs.close()


async def test_a_process_says_again_and_again_that_it_is_well(
    acceptor: Acceptor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.server.acceptor.WELL_S", 0.01)
    one = Process("one", acceptor)
    one.ready()
    async with asyncio.timeout(5):
        while one.times_well < 3:
            await asyncio.sleep(0.01)
    one.hang()
    await asyncio.sleep(0.05)
    before = one.times_well
    await asyncio.sleep(0.05)
    assert one.times_well == before
    one.end()


async def test_a_process_that_may_have_no_more_files_takes_the_next_connection(listener: socket.socket) -> None:
    ours, theirs = socket.socketpair()
    taken = Accepted(theirs, lambda: Greeting(b"one"))
    listener.listen()
    with ours, theirs, socket.create_connection(listener.getsockname()) as client:
        ours.send(b"c")  # what is left of a connection that the kernel had to drop
        await asyncio.sleep(0.01)
        connection, _ = listener.accept()
        with connection:
            socket.send_fds(ours, [b"c"], [connection.fileno()])
        client.settimeout(10)
        assert await asyncio.to_thread(client.recv, 10) == b"one"
        taken.close()


async def test_a_connection_whose_client_left_on_the_way_leaves_no_descriptor_open() -> None:
    ours, theirs = socket.socketpair()

    def left() -> asyncio.BaseProtocol:
        raise ConnectionResetError

    taken = Accepted(theirs, left)
    end, connection = socket.socketpair()
    with ours, theirs, end:
        with connection:
            socket.send_fds(ours, [b"c"], [connection.fileno()])
        end.settimeout(10)
        assert await asyncio.to_thread(end.recv, 1) == b"", "a descriptor that stays open keeps the connection open"
        taken.close()


@pytest.mark.parametrize("killed", ["before it is heard of", "before it heard", "later"])
async def test_who_hears_of_the_end_of_the_acceptor_ends(killed: str) -> None:
    """Only a channel whose other end read all that was sent ends with an end of file; any other is reset."""
    ours, theirs = socket.socketpair()
    ended = asyncio.Event()
    if killed == "before it is heard of":
        ours.close()
    Accepted(theirs, asyncio.Protocol, ended.set)
    if killed == "later":
        assert ours.recv(1)
    ours.close()
    async with asyncio.timeout(5):
        await ended.wait()
    theirs.close()
