"""The allocator of the process: what most images take is kept for the next one.

Taken anew, memory is a page fault for every 4 KiB, which cost half of the time of decoding. What a very large image had
goes back at once.
"""

import ctypes
from typing import Final

_TRIM_THRESHOLD: Final = -1  # of glibc's malloc.h, as the next two
_TOP_PAD: Final = -2
_MMAP_THRESHOLD: Final = -3
_SETTINGS: Final = {_TRIM_THRESHOLD: 16, _TOP_PAD: 1, _MMAP_THRESHOLD: 4}  # MiB


def keep() -> None:
    """Let the C library keep what was freed, where it is glibc."""
    if mallopt := getattr(ctypes.CDLL(None), "mallopt", None):
        for parameter, mib in _SETTINGS.items():
            mallopt(parameter, mib * 1024 * 1024)
