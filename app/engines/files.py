"""Writing files atomically, and checking the bundled files against the SHA-256 of each in `MANIFEST.toml`."""

import errno
import hashlib
import json
import os
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from app.errors import CannotWrite, StartError, why

CACHE = "MOBILENET_CACHE"
"""The setting that names the folder of downloaded weights and compiled models."""
PART = ".part"
"""What is in the name of a file that is not complete."""
READABLE = 0o644
"""The mode of a file in a folder that a setting names: one user may serve what another has compiled."""


@contextmanager
def reading(setting: str) -> Iterator[None]:
    """Turn the `OSError` of a path that cannot be looked at into a `StartError`, which names it and its setting.

    Before Python 3.14 `Path.is_file` and its like raise one, for example where a folder may not be entered.
    """
    try:
        yield
    except OSError as exc:
        raise StartError(f"{setting}: cannot read {exc.filename}: {exc.strerror}") from exc


def content(path: Path) -> bytes:
    """Return the bytes of a file. Raises `StartError` if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as exc:
        raise StartError(f"cannot read {path}: {exc.strerror}") from exc


OF_FOLDERS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOENT)
"""What may be wrong with one folder, and not with another."""


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Yield a folder that is deleted when the block ends. Raises `CannotWrite` if it, or a file in it, has no room."""
    with temporary(), tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@contextmanager
def temporary() -> Iterator[None]:
    """Turn the `OSError` of a temporary file into a `CannotWrite`, which names the folder."""
    try:
        yield
    except OSError as exc:
        where = f" in {tempfile.tempdir}" if tempfile.tempdir else ""  # known once there was one
        hint = "; set TMPDIR to use another folder" if exc.errno in OF_FOLDERS else ""
        raise CannotWrite(f"cannot write temporary files{where}: {exc.strerror or exc}{hint}") from exc


@contextmanager
def replacing(path: Path, setting: str = "") -> Iterator[Path]:
    """Yield a temporary file that replaces `path` when the block ends, or is deleted if the block raises.

    The replacement is atomic: any process that reads `path` sees either a complete file or none, also after a power
    cut. The temporary file has the endings of `path`, as some libraries tell the format by them.
    Raises `CannotWrite` if the folder, which `setting` is to name, cannot be written or the disk is full.
    """
    with replacing_all([path], setting) as (temporary,):
        yield temporary


@contextmanager
def replacing_all(paths: Sequence[Path], setting: str = "") -> Iterator[Sequence[Path]]:
    """Yield temporary files as `replacing` does, none of which replaces its file before all of them are complete."""
    temporary: list[Path] = []
    try:
        temporary.extend(map(_beside, paths))
        yield temporary
        for file in temporary:
            if setting:
                file.chmod(READABLE)
            _write_out(file)
        for file, path in zip(temporary, paths, strict=True):
            file.replace(path)
    except OSError as exc:
        folder = paths[0].parent
        named = Path(str(exc.filename or folder))
        if PART not in named.name and not folder.is_relative_to(named):  # a file that the block needs
            raise StartError(f"{named}: {exc.strerror}") from exc
        where = f"{setting}={folder}" if setting else folder
        raise CannotWrite(f"{where}: cannot write there: {exc.strerror or exc}") from exc
    finally:
        for file in temporary:
            file.unlink(missing_ok=True)


def _beside(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{uuid4().hex}{PART}{''.join(path.suffixes)}")
    temporary.touch(exist_ok=False)
    return temporary


def _write_out(file: Path) -> None:
    """Wait until a file is on the disk; otherwise what it replaces may be an empty one after a power cut."""
    with file.open("r+b") as opened:
        os.fsync(opened.fileno())


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
        found = tomllib.loads((folder / NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as exc:
        raise StartError(f"cannot read {folder / NAME}: {why(exc)}") from exc
    for name, entry in found.items():
        if not (isinstance(entry, dict) and isinstance(entry.get("sha256"), str)):
            raise StartError(f"cannot read {folder / NAME}: it says no SHA-256 of {name}")
    return found


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
