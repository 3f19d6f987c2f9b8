"""Says in one line what is wrong with a command line."""

import sys
from difflib import get_close_matches
from typing import Any

from typer import TyperException
from typer.core import TyperGroup

from app.cli.streams import say


class Commands(TyperGroup):
    """The commands. A wrong option, value or command is one line on standard error, and the exit code is 2."""

    def main(self, *arguments: Any, **named: Any) -> Any:
        """Run a command and end the process with its exit code."""
        try:
            code = super().main(*arguments, **named | {"standalone_mode": False})
        except TyperException as exc:
            if said := _line(exc):
                say(f"mobilenet: {said}", sys.stderr)
            sys.exit(exc.exit_code)
        sys.exit(code)


def _line(error: TyperException) -> str:
    """Return the line about an error; nothing for a command line without a command, to which help is the answer."""
    said = " ".join(error.format_message().split()).replace("Value error, ", "")
    if wrong := getattr(error, "option_name", None):
        near = get_close_matches(wrong, getattr(error, "possibilities", None) or (), n=1)
        said = error.message + "".join(f". Did you mean {one}?" for one in near)
    context = getattr(error, "ctx", None)
    return f"{said} (see {context.command_path} --help)" if said and context else said
