"""The bundled files: `MANIFEST.toml` beside them says what each is, and its SHA-256 that it still is."""

import tomllib
from pathlib import Path
from typing import Any

from app.engines.files import sha256
from app.errors import StartError

NAME = "MANIFEST.toml"


def entries(folder: Path) -> dict[str, dict[str, Any]]:
    """Return what the manifest says of each file: `sha256`, `size` in bytes, `classes`, `source`, `licence`.

    Raises `StartError` if there is no manifest.
    """
    try:
        return tomllib.loads((folder / NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError) as exc:
        raise StartError(f"cannot read {folder / NAME}: {exc}") from exc


def verified(path: Path) -> Path:
    """Return the path of a bundled file. Raises `StartError` unless the file is what the manifest says."""
    entry = entries(path.parent).get(path.name)
    if entry is None:
        raise StartError(f"{path.name} is not in {path.parent / NAME}")
    try:
        found = sha256(path)
    except OSError as exc:
        raise StartError(f"cannot read {path}: {exc.strerror}") from exc
    if found != entry["sha256"]:
        raise StartError(f"{path} is damaged or was replaced: its SHA-256 is {found}, {NAME} has {entry['sha256']}")
    return path
