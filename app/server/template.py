"""The template of the HTTP processes, and how the supervisor has it fork them (decision 0036).

The template has imported the application and does nothing but fork. So the application is imported once, and lies in
memory that all HTTP processes share. It is forked from the supervisor before that has an event loop, and has no
threads: an HTTP process begins with nothing of the supervisor but its modules.
"""

import asyncio
import gc
import json
import logging
import os
import select
import signal
import socket
import sys
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from app.errors import StartError
from app.machine import no_room

logger = logging.getLogger(__name__)

Serve = Callable[[socket.socket, Path, socket.socket], None]
"""What an HTTP process does: serve the connections of its channel, count in a file, and reload as its control says.

Its exit code is that of a `SystemExit`, or else 0.
"""
MESSAGE_BYTES = 8192
FAILED = 1
"""Exit code of a process that ended because of a fault."""


class Template:
    """The supervisor's end of the template. The messages on it keep their bounds, and one of them is one packet."""

    def __init__(self, pid: int, control: socket.socket) -> None:
        self.pid = pid
        self._control = control
        self._asked: deque[asyncio.Future[int]] = deque()
        self._running: dict[int, asyncio.Future[int]] = {}

    @classmethod
    def start(cls, serve: Serve) -> "Template":
        """Fork the template, which keeps nothing open that is now. There must be no threads and no event loop yet.

        Raises `StartError` if the system has no room for another process.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        gc.freeze()  # a collection in one of the processes would write to the pages of all objects, and so copy them
        try:
            pid = os.fork()
        except OSError as exc:
            raise StartError(f"the process that forks the HTTP processes cannot be started: {no_room(exc)}") from exc
        if pid == 0:
            _close_all_but(theirs)
            _end_after(lambda: _Forking(theirs, serve).run())
        theirs.close()
        return cls(pid, ours)

    def begin(self, at_end: Callable[[], None]) -> None:
        """Hear, in the running loop, what the template says. `at_end` is called if it ends before it is closed."""
        self._control.setblocking(False)
        self._at_end = at_end
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._control, self._hear)

    async def fork(
        self, channel: socket.socket, counts: Path, control: socket.socket
    ) -> tuple[int, asyncio.Future[int]]:
        """Have an HTTP process forked; return its number, and what becomes its exit code when it has ended.

        The code is below 0 where a signal has ended it. Raises `OSError` if the system has no room for the process.
        """
        socket.send_fds(self._control, [os.fsencode(counts)], [channel.fileno(), control.fileno()])
        started: asyncio.Future[int] = self._loop.create_future()
        self._asked.append(started)
        pid = await started
        return pid, self._running[pid]

    def _hear(self) -> None:
        said = b""
        with suppress(OSError):  # it was killed
            said = self._control.recv(MESSAGE_BYTES)
        if said:
            what, number, code = json.loads(said)
            getattr(self, f"_{what}")(number, code)
            return
        self._loop.remove_reader(self._control)
        self._at_end()
        for started in self._asked:
            started.set_exception(BrokenPipeError("the template ended"))
        for pid, ended in self._running.items():
            self._watch(pid, ended)

    def _watch(self, pid: int, ended: asyncio.Future[int]) -> None:
        """Hear of the end of a process from the system, now that the template does not tell its exit code any more."""
        try:
            descriptor = os.pidfd_open(pid)
        except (OSError, AttributeError):  # it has ended already; or this is not Linux
            ended.set_result(FAILED)
            return

        def end() -> None:
            self._loop.remove_reader(descriptor)
            os.close(descriptor)
            ended.set_result(FAILED)

        self._loop.add_reader(descriptor, end)

    def _started(self, pid: int, _: int) -> None:
        self._running[pid] = self._loop.create_future()
        self._asked.popleft().set_result(pid)

    def _failed(self, number: int, _: int) -> None:
        self._asked.popleft().set_exception(OSError(number, os.strerror(number)))

    def _ended(self, pid: int, code: int) -> None:
        self._running.pop(pid).set_result(code)

    def close(self) -> None:
        """End the template, which takes no time. HTTP processes that still run end when their channels are closed."""
        self._loop.remove_reader(self._control)
        self._control.close()
        os.waitpid(self.pid, 0)


class _Forking:
    """What the template does until the supervisor closes its end of the socket, or is killed."""

    def __init__(self, control: socket.socket, serve: Serve) -> None:
        self._control = control
        self._serve = serve
        self._signals_read, self._signals_write = os.pipe()
        """Has a byte for each signal that has come: that of a process which has ended."""

    def run(self) -> None:
        _call_this_process("http-template")
        # All processes of a service may get these. The supervisor says when to end, by closing its end of the socket.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        os.set_blocking(self._signals_read, False)
        os.set_blocking(self._signals_write, False)
        signal.set_wakeup_fd(self._signals_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        waiting = select.poll()
        for source in (self._signals_read, self._control.fileno()):
            waiting.register(source, select.POLLIN)
        while True:
            for source, _ in waiting.poll():
                if source == self._signals_read:
                    self._tell_of_the_ended()
                elif not self._heed():
                    return

    def _heed(self) -> bool:
        """Fork the HTTP process that is asked for; return False if there will be no more."""
        asked, descriptors, _, _ = socket.recv_fds(self._control, MESSAGE_BYTES, 2)
        if not asked:
            return False
        channel, control = (socket.socket(fileno=descriptor) for descriptor in descriptors)
        with channel, control:
            try:
                pid = os.fork()
            except OSError as exc:
                self._tell("failed", exc.errno or 0)
                return True
            if pid == 0:
                self._forget()
                _end_after(lambda: self._serve(channel, Path(os.fsdecode(asked)), control))
            self._tell("started", pid)
        return True

    def _forget(self) -> None:
        """Have an HTTP process begin without what is the template's."""
        _call_this_process("http-process")
        signal.set_wakeup_fd(-1)
        for descriptor in (self._signals_read, self._signals_write):
            os.close(descriptor)
        self._control.close()
        for number, handler in (
            (signal.SIGCHLD, signal.SIG_DFL),
            (signal.SIGTERM, signal.SIG_DFL),
            (signal.SIGINT, signal.default_int_handler),
        ):
            signal.signal(number, handler)  # SIGHUP stays ignored: the supervisor says when to reload
        os.setpgid(0, 0)  # Ctrl-C reaches the supervisor alone, which then stops all in order
        nothing = os.open(os.devnull, os.O_RDWR)
        os.dup2(nothing, 0)
        os.close(nothing)

    def _tell_of_the_ended(self) -> None:
        os.read(self._signals_read, MESSAGE_BYTES)
        with suppress(ChildProcessError):  # there is none left
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                self._tell("ended", ended[0], os.waitstatus_to_exitcode(ended[1]))

    def _tell(self, what: str, number: int, code: int = 0) -> None:
        with suppress(OSError):  # the supervisor was killed
            self._control.send(json.dumps([what, number, code]).encode())


def _close_all_but(control: socket.socket) -> None:
    """Close what was open before the fork, above all the socket that connections come to, but for standard streams.

    The objects of these files stay, in frames that nothing returns to.
    """
    for name in os.listdir("/dev/fd"):
        if int(name) not in (0, 1, 2, control.fileno()):
            with suppress(OSError):  # the folder was open while it was read
                os.close(int(name))


def _call_this_process(name: str) -> None:
    """Give this process a name in `ps -o comm` and `top`: its command line is that of the supervisor."""
    with suppress(OSError):  # this is not Linux
        Path("/proc/self/comm").write_text(name)


def _end_after(work: Callable[[], Any]) -> NoReturn:
    """Do the work of a forked process and end it: nothing may return to what was under way where it was forked.

    There, a temporary folder or the file of a socket would be removed, which are those of the process before the fork.
    """
    code = FAILED
    try:
        work()
        code = 0
    except SystemExit as exc:
        code = exc.code if isinstance(exc.code, int) else FAILED if exc.code else 0
    except BaseException:
        logger.exception("an HTTP process failed")
    finally:
        with suppress(Exception):
            logging.shutdown()
            sys.stderr.flush()
        os._exit(code)
