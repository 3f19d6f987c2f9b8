"""Asking another machine: which failures are permanent, and when the others are asked about again."""

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from time import sleep
from typing import Final, TypeVar

from app.errors import ClientError, StartError, Unreachable, Unreadable, first_line, without_password

T = TypeVar("T")

PAUSES_S: Final = (1.0, 4.0, 16.0)
"""The pauses in seconds after which another machine is asked again."""
_PERMANENT: Final = (
    FileNotFoundError,
    PermissionError,
    IsADirectoryError,
    NotADirectoryError,
    ValueError,  # a name that cannot be, or an unknown scheme
    ImportError,  # the package for a scheme is missing
    NotImplementedError,
    StartError,
)
_MAY_PASS: Final = frozenset({400, 401, 408, 425, 429})
"""HTTP statuses from 400 to 499 that may be others later. S3 answers 400 while credentials have expired."""
_STATUS: Final = re.compile(r"(?:HTTP status |Azure Error: \[\w*\] )(\d{3})")
"""How Arrow tells the HTTP status; it does not do so for the S3 errors below."""
_REFUSED: Final = re.compile("AWS Error (ACCESS_DENIED|NO_SUCH_BUCKET|INVALID_ACCESS_KEY_ID|SIGNATURE_DOES_NOT_MATCH)")


def is_permanent(error: Exception) -> bool:
    """Whether asking again would fail in the same way: there is no such file, or it must not be read."""
    if isinstance(error, _PERMANENT) or _REFUSED.search(str(error)):
        return True
    status = _status(error)
    return status is not None and 400 <= status < 500 and status not in _MAY_PASS


def _status(error: Exception) -> int | None:
    """Return the HTTP status that an error tells, where the packages that fsspec finds or Arrow keep it."""
    for holder in (error, getattr(error, "response", None)):
        for name in ("status", "status_code", "code"):
            if isinstance(value := getattr(holder, name, None), int):
                return value
    found = _STATUS.search(str(error))
    return int(found[1]) if found else None


def once(name: str, ask: Callable[[], T]) -> T:
    """Return what another machine answers about a file.

    Raises `Unreadable` for a permanent failure, and `Unreachable` for any other: nothing need be wrong with the file,
    and later that machine may answer.
    """
    try:
        return ask()
    except ClientError:
        raise
    except Exception as exc:  # packages of others have errors of their own
        if is_permanent(exc):
            raise Unreadable(said(exc)) from exc
        raise Unreachable(f"{without_password(name)}: {without_password(first_line(exc))}") from exc


def attempts() -> Iterator[None]:
    """Yield for each attempt but the last one, and pause after it."""
    for pause_s in PAUSES_S:
        yield
        sleep(pause_s)


def patiently(ask: Callable[[], T]) -> T:
    """Ask again, after pauses, while that raises `Unreachable`; the last attempt may raise it."""
    for _ in attempts():
        with suppress(Unreachable):
            return ask()
    return ask()


def asked(name: str, ask: Callable[[], T]) -> T:
    """Ask as `once` does, and patiently."""
    return patiently(partial(once, name, ask))


def said(error: Exception) -> str:
    """Return what an error says, in a line and without a password."""
    return without_password(getattr(error, "strerror", None) or first_line(error))
