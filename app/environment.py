"""Reads the settings from the environment and `.env`, and says what is wrong. Nothing else reads the environment."""

import os
from io import StringIO
from pathlib import Path
from typing import Any

from dotenv import dotenv_values
from dotenv.parser import Binding, parse_stream
from pydantic import SecretStr, ValidationError

from app.config import PREFIX, SECRETS, Settings
from app.errors import StartError, without_password
from app.keys import keys_in
from app.validation import fault, nearest

OTLP_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
"""The variables of OpenTelemetry for where spans are sent."""
RENAMED = {
    "THREADS": f"{PREFIX}MODEL_WORKERS (processes that decode and classify); with TensorFlow set {PREFIX}MODEL_THREADS",
    "WORKERS": f"{PREFIX}HTTP_WORKERS (processes that take HTTP requests)",
}
"""Settings of earlier versions, and what they are called now."""
FROM_FILES = {"alpha": "WEIGHTS", "resolution": "WEIGHTS", "api_keys": "API_KEYS_FILE"}
"""Settings that a file may give, and the setting that names the file or its folder."""
sources: dict[str, str] = {}
"""Where a variable with our prefix comes from, if neither its default nor the environment: a flag, or `DOTENV`."""
DOTENV = ".env"
"""A file of variables in the current folder. What is in the environment counts more."""

_NAMES = [f"{PREFIX}{name.upper()}" for name in Settings.model_fields]


def load() -> Settings:
    """Read the environment once, and `.env`. Raises `StartError`: a line for each wrong variable and what is allowed.

    A variable with our prefix that is not a setting is refused too. Otherwise a misspelt limit, or a misspelt list of
    keys, would look as if it were in force.
    """
    _read_file()
    problems = [_unknown(name) for name in sorted(os.environ) if _is_unknown(name.upper())]
    try:
        settings = Settings()
    except ValidationError as exc:
        # A default that is computed from other settings is not at fault where one of those is wrong.
        wrong = [error for error in exc.errors() if error["type"] != "default_factory_not_called"]
        problems += [line for error in wrong for line in _lines(error)]
    if problems:
        raise StartError("\n".join(problems))
    return settings


def _read_file() -> None:
    """Take over from `.env` what the environment does not have, also for the processes that this one starts.

    Raises `StartError` for a line that cannot be read: without its keys, for example, the service would be open. None
    of the line is shown, as it may be such a key.
    """
    text = _text()
    for line in parse_stream(StringIO(text)):
        ours = line.key is not None and line.key.upper().startswith(PREFIX)
        if line.error or (ours and line.value is None) or "\0" in line.original.string:
            raise StartError(f"{DOTENV}: line {_number(line)} cannot be read; write NAME=VALUE, and close quotes")
    there = {name.upper() for name, value in os.environ.items() if value}
    for name, value in dotenv_values(stream=StringIO(text)).items():
        if name.upper().startswith(PREFIX) and name.upper() not in there and value:
            os.environ[name] = value
            sources[name] = DOTENV


def _text() -> str:
    """Return what is in `.env`; a folder of that name, as some virtual environments have, has nothing."""
    try:
        return Path(DOTENV).read_text(encoding="utf-8")
    except (FileNotFoundError, IsADirectoryError):
        return ""
    except OSError as exc:
        raise StartError(f"{DOTENV}: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        raise StartError(f"{DOTENV}: is not text in UTF-8") from exc


def _number(line: Binding) -> int:
    """Return the number of the line; blank ones before it count as a part of it."""
    text = line.original.string
    return line.original.line + text[: len(text) - len(text.lstrip())].count("\n")


def source(settings: Settings, name: str) -> str:
    """Return where a value comes from: a flag, the environment, `.env`, another setting that names it, or the default.

    Another setting is named as it is: the folder of weights that says what it was trained for, or the file of the keys.
    """
    variable = f"{PREFIX}{name.upper()}"
    found = next((one for one in os.environ if one.upper() == variable and os.environ[one]), None)
    if found is not None:
        return sources.get(found, "environment")
    return f"{PREFIX}{FROM_FILES[name]}" if name in FROM_FILES.keys() & settings.model_fields_set else "default"


def _is_unknown(name: str) -> bool:
    return name.startswith(PREFIX) and name not in _NAMES


def _unknown(name: str) -> str:
    if now := RENAMED.get(name.upper().removeprefix(PREFIX)):
        return f"{name} is now {now}"
    near = nearest(name.upper().removeprefix(PREFIX), (known.removeprefix(PREFIX) for known in _NAMES))
    if near is None:
        return f"{name} is not a setting (the README lists all)"
    return f"{name} is not a setting; the nearest is {PREFIX}{near} (the README lists all)"


def _lines(error: Any) -> list[str]:
    message = fault(error)
    if not error["loc"]:
        return message.splitlines()
    name = str(error["loc"][0])
    shown = "" if name in SECRETS else f"={without_password(error['input'])}"
    flag = sources.get(f"{PREFIX}{name.upper()}", "")
    return [f"{flag if flag.startswith('--') else PREFIX + name.upper()}{shown}: {message}"]


def read_keys(settings: Settings) -> tuple[SecretStr, ...]:
    """Return the keys of callers as they are now, from their file if there is one. Raises `StartError` in one line."""
    try:
        return settings.api_keys if settings.api_keys_file is None else keys_in(settings.api_keys_file)
    except ValueError as exc:
        raise StartError(str(exc)) from exc


def spans_wanted() -> bool:
    """Whether the environment says where spans are sent."""
    wanted = any(os.environ.get(name) for name in OTLP_ENDPOINTS)
    return wanted and os.environ.get("OTEL_SDK_DISABLED", "").lower() != "true"
