"""The standard streams of a command."""

import os
import sys


def open_all() -> None:
    """Open those standard streams that the caller has closed (`2>&-` in a shell), so that they lead to nowhere.

    Python has None for such a stream. Its number would also be given to the next file that is opened, into which a
    library would then write its messages.
    """
    for number in range(3):
        if not _is_open(number):
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free, which is this one
            os.set_inheritable(number, True)
    sys.stdin = sys.stdin or open(0, closefd=False)  # noqa: SIM115
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True
