"""Files that are whole or not there: written beside their place first, and known by the SHA-256 of their bytes."""

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.errors import StartError

READABLE = 0o644
"""Mode of a finished file: other users may serve what one has fetched or compiled."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary file that takes the place of `path` when the block ends, or is gone if it raises.

    The replacement is atomic: whoever reads `path`, in this process or another, sees a whole file or none.
    Raises `StartError` if the folder cannot be written or the disk is full.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(suffix=".part", dir=path.parent)
        os.close(descriptor)
        temporary = Path(name)
        yield temporary
        temporary.chmod(READABLE)
        temporary.replace(path)
    except OSError as exc:
        raise StartError(f"MOBILENET_CACHE={path.parent}: cannot write there: {exc.strerror}") from exc
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hex. Raises `OSError`."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
