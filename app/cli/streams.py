"""The standard streams of a command."""

import codecs
import errno
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Final, TextIO

from app.errors import BAD_START, StartError

REPLACED: Final = "bytes of names, else question marks"
ESCAPED: Final = "bytes of names, else escapes"
"""How text is encoded that a stream's encoding does not have: names of files as the bytes that they are, and all else
as `?` on standard output, and as escapes such as `\\u03b1` on standard error.

Names of files need not be valid UTF-8, and not every encoding has the α of a table or the letters of a label.
"""
_UNPRINTABLE: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
"""Characters that are orders to a terminal, end a line, or change the direction in which the text is shown."""
CANNOT_WRITE: Final = (errno.ENOSPC, errno.EDQUOT, errno.EIO)
"""The disk is full, or the share of its user, or it is broken."""


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

    print_any_text()


def print_any_text() -> None:
    """Have all text printed, whatever the encoding of standard output and standard error is."""
    codecs.register_error(REPLACED, partial(_encoded, otherwise="replace"))
    codecs.register_error(ESCAPED, partial(_encoded, otherwise="backslashreplace"))
    sys.stdout.reconfigure(errors=REPLACED)  # type: ignore[union-attr]
    sys.stderr.reconfigure(errors=ESCAPED)  # type: ignore[union-attr]


def _encoded(error: UnicodeError, otherwise: str) -> tuple[str | bytes, int]:
    """Encode the first of some characters, as each may need another way."""
    if isinstance(error, UnicodeEncodeError):
        error.end = error.start + 1
    try:
        return codecs.lookup_error("surrogateescape")(error)
    except UnicodeError:
        return codecs.lookup_error(otherwise)(error)


def printable(text: str) -> str:
    r"""Return text with escapes such as `\x1b` in place of what is an order to a terminal, line feeds included.

    Names of files and what a service answers may have any characters.
    """
    return _UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def say(line: str, file: TextIO | None = None) -> None:
    """Print one line for people on standard output, or on another stream, whatever characters it has."""
    print(printable(line), file=file)


def tell(error: StartError) -> None:
    """Print the lines of an error on standard error."""
    for line in error.report.splitlines():
        say(line, sys.stderr)


@contextmanager
def written() -> Iterator[None]:
    """Write out all output when the block ends. If that fails, end the process, and say why with exit code 2.

    A reader that has had enough (`| head`) is told nothing, as by other commands; the exit code is 1.
    """
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except OSError as exc:
        if exc.filename is not None or exc.errno not in (*CANNOT_WRITE, errno.EPIPE):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left is not tried once more
        if exc.errno == errno.EPIPE:
            sys.exit(1)
        with suppress(OSError):
            print(f"mobilenet: cannot write the output: {exc.strerror}", file=sys.stderr, flush=True)
        sys.exit(BAD_START)


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True
