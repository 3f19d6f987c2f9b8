"""The keys of callers: split at commas, checked, and read from their file."""

from pathlib import Path

from pydantic import SecretStr

FILE = "MOBILENET_API_KEYS_FILE"
"""The setting that names the file."""


def split(text: str) -> tuple[str, ...]:
    """Return what is between the commas of a text, without spaces around it, and nothing for nothing."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def keys_in(path: Path) -> tuple[SecretStr, ...]:
    """Return the keys in a file. Raises `ValueError` if there are none: the service would be open by mistake."""
    try:
        found = split(path.read_text(encoding="utf-8-sig").replace("\n", ","))
        if not found:
            raise ValueError("contains no key")
        return checked(found)
    except OSError as exc:
        raise ValueError(f"{FILE}={path}: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        raise ValueError(f"{FILE}={path}: is not text in UTF-8") from exc
    except ValueError as exc:
        raise ValueError(f"{FILE}={path}: {exc}") from exc


def checked(keys: tuple[str, ...]) -> tuple[SecretStr, ...]:
    """Return keys as secrets. Raises `ValueError` for one that a header cannot have."""
    for key in keys:
        if not (key.isascii() and key.isprintable()) or " " in key:
            raise ValueError("a key must be printable ASCII without spaces")
    return tuple(map(SecretStr, keys))
