"""What a file holds, by the end of its name: a photo, many of them, or none."""

import os
from typing import Final

from app.imaging.formats import SUFFIXES

TARS: Final = (".tar", ".tar.gz", ".tgz")
PARQUET: Final = ".parquet"
_FINDER: Final = "._"
"""On disks of other systems, macOS puts a file with this prefix beside each photo; it is not an image."""


def is_photo(name: str) -> bool:
    """Whether a file is a photo, by its name."""
    return os.path.splitext(name)[1].lower() in SUFFIXES and not os.path.basename(name).startswith(_FINDER)


def is_tar(name: str) -> bool:
    """Whether a file is a tar archive, by its name."""
    return name.lower().endswith(TARS)


def is_parquet(name: str) -> bool:
    """Whether a file is one of Parquet, by its name."""
    return name.lower().endswith(PARQUET)
