"""How a running service is told to reload: by SIGHUP, or over a socket, which also says what came of it.

The socket is a Unix socket of Linux without a file. It needs no folder that can be written, is gone with its process,
and has the number of the process in its name. One over which a supervisor tells its HTTP processes is made in advance.
"""

import asyncio
import json
import os
import signal
import socket
import struct
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from app.errors import StartError
from app.reload import Outcome, Reload, Reloads

ASK = b"reload\n"
NAME = "mobilenet/{user}/{pid}"
SOCKETS = Path("/proc/net/unix")
PEER = struct.Struct("3i")
"""What Linux says of the process at the other end: its number, its user and its group."""


@asynccontextmanager
async def heeding(reloads: Reloads) -> AsyncIterator[None]:
    """Reload at SIGHUP, and for `ask`, until the context ends. Without SIGHUP, or on another thread, do nothing."""
    if not hasattr(signal, "SIGHUP") or threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    on_terminal = signal.getsignal(signal.SIGHUP) != signal.SIG_IGN and _has_terminal()

    def hangup() -> None:
        """Reload, or stop in order if the terminal is gone that this process was started on, and that sent this."""
        if on_terminal and not _has_terminal():
            signal.raise_signal(signal.SIGTERM)
        else:
            reloads.ask()

    loop.add_signal_handler(signal.SIGHUP, hangup)
    if _early.is_set():
        _early.clear()
        reloads.ask()
    server = await _listen(reloads)
    try:
        yield
    finally:
        loop.add_signal_handler(signal.SIGHUP, lambda: None)  # whoever stops is not to be killed for a late one
        reloads.cancel()
        if server is not None:
            server.close()


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True


_early = threading.Event()
"""Set by a SIGHUP that came before there was a service that could reload."""


def remember_hangup() -> None:
    """Keep SIGHUP from ending this process while it starts: it reloads once it serves. `nohup` is left in force."""
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        signal.signal(signal.SIGHUP, lambda *_: _early.set())


async def _listen(reloads: Reloads) -> asyncio.Server | None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if _trusted(writer):
                await _converse(reader, writer, reloads.asked)
        finally:
            writer.close()

    with suppress(OSError):  # this is not Linux, or another container's process has this number and this network
        return await asyncio.start_unix_server(answer, "\0" + NAME.format(user=os.getuid(), pid=os.getpid()))
    return None


def _trusted(writer: asyncio.StreamWriter) -> bool:
    """Whether the other end is of the same user, or of root: a socket without a file has no rights of its own."""
    peer = writer.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, PEER.size)
    return PEER.unpack(peer)[1] in (0, os.getuid())


@asynccontextmanager
async def obeying(control: socket.socket, reload: Reload) -> AsyncIterator[None]:
    """Reload whenever the process at the other end says so, until the context ends."""
    reader, writer = await asyncio.open_unix_connection(sock=control)
    conversing = asyncio.create_task(_converse(reader, writer, reload))
    try:
        yield
    finally:
        conversing.cancel()
        writer.close()


async def _converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, reload: Reload) -> None:
    """Reload for each line that comes, and answer with a line, until the other end is closed."""
    with suppress(OSError):
        while await reader.readline():
            writer.write(json.dumps(await reload()).encode() + b"\n")
            await writer.drain()


def outcome(line: bytes) -> Outcome | None:
    """Read the line that answers `ASK`; None if the other end was closed instead."""
    return Outcome(*json.loads(line)) if line else None


def ask(pid: int | None = None) -> Outcome:
    """Have a service reload, and wait for what comes of it. Without `pid` it is the only one of this user.

    Raises `StartError` in one line if there is no such service, or if there are several.
    """
    name = _name(pid)
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect("\0" + name)
        except OSError as exc:
            raise StartError(f"the service cannot be asked to reload: {exc.strerror}") from exc
        with suppress(OSError), connection.makefile("rb") as answers:
            connection.sendall(ASK)
            if answer := outcome(answers.readline()):
                return answer
    return Outcome(False, "the service ended before it had reloaded")


def _name(pid: int | None) -> str:
    """Return the name of the socket of a service. Raises `StartError`."""
    found = {int(name.rpartition("/")[2]): name for name in _names()}
    if not found:
        raise StartError("no service of this user runs here that could reload")
    numbers = ", ".join(map(str, sorted(found)))
    if pid is None and len(found) > 1:
        raise StartError(f"several services run, as processes {numbers}; say which one: mobilenet reload PID")
    if pid is not None and pid not in found:
        raise StartError(f"process {pid} is not a service of this user; running: {numbers}")
    return found[pid or next(iter(found))]


def _names() -> list[str]:
    """Return the names of the sockets of the services that this user may reload."""
    user = "*" if os.getuid() == 0 else str(os.getuid())
    try:
        fields = [line.split() for line in SOCKETS.read_text().splitlines()]
    except OSError:  # this is not Linux
        return []
    pattern = "@" + NAME.format(user=user, pid="*")
    return sorted({name[-1][1:] for name in fields if Path(name[-1]).match(pattern)})
