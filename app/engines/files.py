"""Writing files atomically, and checking the bundled files against the SHA-256 of each in `MANIFEST.toml`."""

import hashlib
import json
import os
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from app.errors import StartError

CACHE = "MOBILENET_CACHE"
"""The setting that names the folder of downloaded weights and compiled models."""
READABLE = 0o644
"""The mode of a finished file: readable by all, so that one user may serve what another has compiled."""


@contextmanager
def replacing(path: Path, setting: str = "") -> Iterator[Path]:
    """Yield a temporary file that replaces `path` when the block ends, or is deleted if the block raises.

    The replacement is atomic: any process that reads `path` sees either a complete file or none.
    Raises `StartError` if the folder, which `setting` is to name, cannot be written or the disk is full.
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
        folder = f"{setting}={path.parent}" if setting else path.parent
        raise StartError(f"{folder}: cannot write there: {exc.strerror or exc}") from exc
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hex digits. Raises `OSError`."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


NAME = "MANIFEST.toml"


def entries(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the manifest's entry for each file: `sha256`, `size` in bytes, `classes`, `source` and `licence`.

    Raises `StartError` if the manifest is missing or damaged.
    """
    try:
        return tomllib.loads((folder / NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError) as exc:
        raise StartError(f"cannot read {folder / NAME}: {exc}") from exc


def verified(path: Path) -> Path:
    """Return `path`, the path of a bundled file. Raises `StartError` unless the file matches the manifest."""
    entry = entries(path.parent).get(path.name)
    if entry is None:
        raise StartError(f"{path.name} is not in {path.parent / NAME}")
    try:
        found = sha256(path)
    except OSError as exc:
        raise StartError(f"cannot read {path}: {exc.strerror}") from exc
    if found != entry["sha256"]:
        raise StartError(
            f"{path} is damaged or was replaced: its SHA-256 is {found}, but {NAME} says {entry['sha256']}"
        )
    return path


def write_manifest(folder: Path, files: dict[Path, dict[str, Any]]) -> None:
    """Write the manifest of a folder: the SHA-256 and the size of each file, and what else is said of it."""
    lines = ["# What these files are. The service checks each file that it loads against its SHA-256."]
    for path, known in files.items():
        entry = {"sha256": sha256(path), "size": path.stat().st_size} | known
        # A string or a number of JSON is one of TOML too.
        lines += ["", f"[{json.dumps(path.name)}]", *(f"{key} = {json.dumps(value)}" for key, value in entry.items())]
    (folder / NAME).write_text("\n".join(lines) + "\n", encoding="utf-8")
