"""Every setting as a flag of `mobilenet serve`, made from `Settings`, so that the two cannot drift apart."""

import os
from collections.abc import Callable
from inspect import Parameter, Signature
from typing import Annotated, Any, Final, Literal, get_origin

import typer
from pydantic.fields import FieldInfo

from app import environment
from app.config import PREFIX, Settings

GROUPS: Final = {
    "Network": ("alpha", "resolution", "variants", "degrade", "weights", "weights_url", "labels", "cache"),
    "Engine": ("engine", "precision", "model_workers", "model_threads", "http_workers", "exit_on_fault"),
    "Batches and queues": ("max_batch_size", "max_wait_ms", "max_queue"),
    "Limits of a request": ("request_timeout_ms", "max_body_bytes", "max_pixels", "max_images"),
    "Address and callers": ("host", "port", "grpc_port", "root_path", "api_keys_file", "open_metrics", "cors_origins"),
    "Log": ("log_format", "log_level"),
}
"""The settings that are flags, as the help groups them.

Keys are none: everybody on a machine can read its command lines. `--api-keys-file` names a file that has them.
"""


def with_settings(command: Callable[[], None]) -> Callable[..., None]:
    """Return the command with a flag for each setting; what is given counts as if it were in the environment."""

    def flagged(**given: Any) -> None:
        override(**given)
        command()

    flags = {name: _flag(name, group) for group, names in GROUPS.items() for name in names}
    flagged.__name__, flagged.__doc__ = command.__name__, command.__doc__
    flagged.__annotations__ = flags
    flagged.__signature__ = Signature(  # type: ignore[attr-defined]  # what Typer makes options of
        [Parameter(name, Parameter.KEYWORD_ONLY, default=None, annotation=flag) for name, flag in flags.items()]
    )
    return flagged


def override(**given: Any) -> None:
    """Put settings that were given as flags into the environment; None is one that was not given."""
    for name, value in given.items():
        if value is not None:
            variable = f"{PREFIX}{name.upper()}"
            os.environ[variable] = str(value)  # for the processes that it starts, too
            environment.sources[variable] = f"--{name.replace('_', '-')}"


def _flag(name: str, group: str) -> Any:
    field = Settings.model_fields[name]
    about = f"{field.description} [{PREFIX}{name.upper()}{_default(field)}]"
    option = typer.Option(help=about, metavar=_metavar(field.annotation), case_sensitive=False, rich_help_panel=group)
    return Annotated[_kind(field.annotation) | None, option]


def _metavar(annotation: Any) -> str | None:
    """Return what stands for the value in the help: short, as a terminal has 80 columns, and the text says the rest."""
    return None if annotation is bool else "NAME" if get_origin(annotation) is Literal else "VALUE"


def _kind(annotation: Any) -> Any:
    """Return how a flag is read. All but a choice is read as text: `Settings` says best what is wrong with it."""
    return annotation if annotation is bool or get_origin(annotation) is Literal else str


def _default(field: FieldInfo) -> str:
    if field.default_factory or field.default in (None, ()):
        return ""
    return f", default: {_shown(field.default)}"


def _shown(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)
