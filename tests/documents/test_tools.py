"""Every command of the documents that runs a tool names a tool that is there, and options that it has."""

import ast
import re
from pathlib import Path

import pytest

from tests.support.data import REPOSITORY

DOCUMENTS = [*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/**/*.md"), REPOSITORY / "model_weights" / "README.md"]
COMMAND = re.compile(r"python -m (tools[\w.]*)((?:\\\n|[^`\n])*)")


def commands() -> set[tuple[str, str]]:
    """Return each module that a document runs, with the arguments that follow it."""
    return {(found[1], found[2]) for path in DOCUMENTS for found in COMMAND.finditer(path.read_text())}


def source(module: str) -> Path:
    path = REPOSITORY.joinpath(*module.split("."))
    return path / "__main__.py" if path.is_dir() else path.with_suffix(".py")


def options(path: Path) -> set[str]:
    """Return the options of a tool: the parameters of its functions, and the names that are given to Typer."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    parameters = {f"--{node.arg.replace('_', '-')}" for node in nodes if isinstance(node, ast.arg)}
    given = {str(node.value) for node in nodes if isinstance(node, ast.Constant)}
    return parameters | given


@pytest.mark.parametrize(("module", "arguments"), sorted(commands()))
def test_a_tool_is_called_by_its_name_with_its_options(module: str, arguments: str) -> None:
    assert source(module).is_file()
    assert set(re.findall(r"(?<= )--[a-z0-9-]+", arguments)) <= options(source(module))


def test_the_documents_call_tools_of_every_kind() -> None:
    folders = {module.split(".")[1] for module, _ in commands()}
    assert folders == {path.parent.name for path in (REPOSITORY / "tools").glob("*/__init__.py")}
