"""Names of files: paths of this machine, and URLs of others."""

import os
import re
from functools import lru_cache
from typing import Any, Final

from pyarrow import fs

from app.batch.storage.asking import is_permanent
from app.errors import StartError, without_password

LOCAL: Final = "file://"
_URL: Final = re.compile(r"(?P<root>[a-z][a-z0-9+.-]*://[^/]+)(?:/(?P<path>.*))?", re.DOTALL)
_ARROW: Final = ("s3://", "gs://", "gcs://", "abfs://", "abfss://", "hdfs://", "viewfs://")
"""What Arrow itself can read. For all else it asks fsspec, which finds the packages of others."""


def is_remote(name: str) -> bool:
    """Whether a name is a URL of another machine."""
    return _URL.fullmatch(name) is not None and not name.startswith(LOCAL)


def path_of(name: str) -> str:
    """Return the path of a file of this machine, which may be named by a URL."""
    return name.removeprefix(LOCAL)


def absolute(name: str) -> str:
    """Return the name without a slash at its end; a path is made one that is the same from any folder."""
    return name.rstrip("/") if is_remote(name) else os.path.abspath(path_of(name))


def locate(name: str) -> tuple[Any, str]:
    """Return the pyarrow file system of a name, and the path in it.

    Raises `StartError` for an unknown scheme, and anything else if another machine that is asked does not answer.
    """
    found = _URL.fullmatch(name)
    if found is None or name.startswith(LOCAL):
        return fs.LocalFileSystem(), path_of(name)
    system, base = _root(found["root"])
    return system, f"{base.rstrip('/')}/{found['path'] or ''}".rstrip("/")


@lru_cache
def _root(url: str) -> tuple[Any, str]:
    """Return the file system of a URL without its path, and where in it that URL is. Raises as `locate` does."""
    try:
        found: tuple[Any, str] = fs.FileSystem.from_uri(url if url.startswith(_ARROW) else f"fsspec+{url}")
    except Exception as exc:  # packages of others have errors of their own
        if is_permanent(exc):  # an unknown scheme, or a package that is missing
            raise StartError(f"{without_password(url)}: {without_password(exc)}") from exc
        raise  # for S3, the region of a bucket is asked for here
    return found
