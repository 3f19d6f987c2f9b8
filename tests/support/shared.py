"""What the processes of one run of the tests share: the first that needs something makes it, and the others wait."""

import fcntl
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


def shared_folder(factory: pytest.TempPathFactory) -> Path:
    """Return the folder of temporary files that all processes of this run know."""
    own = factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@contextmanager
def one_at_a_time(lock: Path) -> Iterator[None]:
    """Keep out every other process that asks for the same lock, until the context ends."""
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def made_once(folder: Path, make: Callable[[Path], None]) -> Path:
    """Return a folder that `make` has filled, in this process or in another one."""
    with one_at_a_time(folder.with_suffix(".lock")):
        if not folder.exists():
            part = Path(tempfile.mkdtemp(dir=folder.parent))
            make(part)
            part.rename(folder)
    return folder
