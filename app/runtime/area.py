"""Memory that the HTTP process and one worker both see: requests are written into it by the one and read by the other.

Through a socket, every byte of a photo would be copied into the kernel and out again, and a batch of ordinary photos
would not fit into it, so that both processes would wake one another several times for each batch (decision 35).
"""

import fcntl
import mmap
import os
from collections.abc import Sequence
from typing import Final

Buffer = bytes | memoryview

KEPT_BYTES: Final = 4 * 1024 * 1024
"""So much memory stays taken between two requests. An ordinary batch takes a quarter of it."""


def new() -> int:
    """Return the descriptor of a new area of `KEPT_BYTES`, which takes no memory before it is written to.

    It is sealed against shrinking: a worker that is taken over by a file cannot have the other process killed, which is
    what happens to one that writes where an area has ended. Raises `OSError`.
    """
    descriptor = os.memfd_create("mobilenet", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(descriptor, KEPT_BYTES)
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
    return descriptor


class Area:
    """An area of memory, as one of the two processes sees it. It grows with what is written to it."""

    def __init__(self, descriptor: int) -> None:
        """Map an area, whose descriptor is not needed any more after that. Raises `OSError`."""
        self._map = mmap.mmap(descriptor, KEPT_BYTES)

    def write(self, parts: Sequence[Buffer]) -> int:
        """Write these parts, one after the other, over what was there; return how many bytes they have.

        Raises `OSError` if there is no memory for them.
        """
        size = sum([len(part) for part in parts])
        self.see(size)
        at = 0
        for part in parts:
            self._map[at : (at := at + len(part))] = part
        return size

    def see(self, size: int) -> None:
        """Have no less than so many bytes; the process that writes is the first to have more."""
        if size > len(self._map):
            self._map.resize(size)

    def read(self, start: int, end: int) -> bytes:
        """Return a copy of these bytes, of those that are seen."""
        return self._map[start:end]

    def give_back(self) -> None:
        """Give back to the system what is taken beyond `KEPT_BYTES`."""
        if len(self._map) > KEPT_BYTES:
            self._map.madvise(mmap.MADV_REMOVE, KEPT_BYTES)

    def close(self) -> None:
        """Let go of it; the memory is free when both processes have."""
        self._map.close()
