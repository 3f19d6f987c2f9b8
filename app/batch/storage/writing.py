"""Writing files so that each is there as a whole or not at all, whenever this process or its machine ends."""

import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Final
from uuid import uuid4

from app.batch.storage.asking import once, patiently
from app.batch.storage.names import is_remote, locate
from app.errors import Unreadable, without_password

BUFFER_BYTES: Final = 2**20
_SHOWS_PARTS: Final = ("hdfs://", "viewfs://", "webhdfs://")
"""Storage that shows what has arrived of a file. Object storage shows a file only when all of it was sent."""
_HALF: Final = re.compile(r"\.[0-9a-f]{32}\.part")
_ABANDONED_S: Final = 3600
"""A file that is being written is left alone for so long: it may belong to a command that is still running."""

Write = Callable[[bytes], object]


def write(name: str, content: bytes) -> None:
    """Write a file. Raises `OSError`, or `Unreachable` after some time."""

    def ask() -> None:
        with writer(name) as add:
            add(content)

    patiently(ask)


@contextmanager
def writer(name: str) -> Iterator[Write]:
    """Yield what adds bytes to a new file, which is there when the block ends, unless the block raises.

    Raises `OSError`, or `Unreachable`.
    """
    try:
        with (_remote if is_remote(name) else _local)(name) as add:
            yield add
    except Unreadable as exc:
        raise OSError(f"{without_password(name)} cannot be written: {exc}") from exc


@contextmanager
def _local(name: str) -> Iterator[Write]:
    half = Path(name).with_name(_half())
    try:
        with half.open("wb") as file:
            yield file.write
            file.flush()
            os.fsync(file.fileno())
        half.replace(name)
    except BaseException:
        with suppress(OSError):
            half.unlink()
        raise


@contextmanager
def _remote(name: str) -> Iterator[Write]:
    system, path = once(name, partial(locate, name))
    moved = name.startswith(_SHOWS_PARTS)
    half = f"{path.rpartition('/')[0]}/{_half()}" if moved else path
    file = once(name, partial(system.open_output_stream, half, buffer_size=BUFFER_BYTES))
    try:
        yield lambda content: once(name, partial(file.write, content))
        once(name, file.close)
        if moved:
            with suppress(Exception):  # mostly there is none; HDFS would not replace it
                system.delete_file(path)
            once(name, partial(system.move, half, path))
    except BaseException:
        with suppress(Exception):
            if moved:
                system.delete_file(half)
        raise


def _half() -> str:
    """Return the name of a file for as long as it is being written. Readers of Parquet pass over it."""
    return f".{uuid4().hex}.part"


def is_half(name: str) -> bool:
    """Whether a file is one that was not written to its end, by its name without a folder."""
    return _HALF.fullmatch(name) is not None


def remove_halves(folder: str) -> None:
    """Remove what processes that were killed have left in a folder of this machine. Raises `OSError`."""
    if is_remote(folder):
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if not is_half(entry.name):
                continue
            with suppress(FileNotFoundError):  # a command that is still running has just renamed it
                if time.time() - entry.stat().st_mtime > _ABANDONED_S:
                    os.unlink(entry.path)


def make_folder(name: str) -> None:
    """Make a folder, and those it is in; object storage needs none. Raises `OSError`."""
    if not is_remote(name):
        Path(name).mkdir(parents=True, exist_ok=True)
