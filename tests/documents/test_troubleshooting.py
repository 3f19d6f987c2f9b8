"""Every message that docs/troubleshooting.md quotes is one of the code."""

import ast
import re
from collections.abc import Iterator

import pytest

from tests.support.data import REPOSITORY

TEXT = (REPOSITORY / "docs" / "troubleshooting.md").read_text()
FIRST_CELLS = re.findall(r"^\| (.*?) \| ", TEXT, re.M)
QUOTED = [quoted for cell in FIRST_CELLS for quoted in re.findall(r"`([^`]+)`", cell)]
NAMES = re.compile(r"/?[\w-]+|make run|MOBILENET_[A-Z_]+(=\S*)?")
"""What is set like code in a first column and is not a message."""
MESSAGES = [quoted for quoted in QUOTED if not NAMES.fullmatch(quoted)]


def template(node: ast.AST) -> str:
    """Return a text of the code, with `…` in the place of each value."""
    if isinstance(node, ast.JoinedStr):
        return "".join(template(value) for value in node.values)
    text = node.value if isinstance(node, ast.Constant) else "…"
    return re.sub(r"%(\.\d)?[a-z]", "…", text) if isinstance(text, str) else ""


def templates() -> Iterator[str]:
    for path in (REPOSITORY / "app").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr | ast.Constant):
                yield re.sub("…+", "…", template(node))


CODE = "\n".join(templates())


@pytest.mark.parametrize("message", MESSAGES)
def test_a_quoted_message_is_one_of_the_code(message: str) -> None:
    assert message.strip("… ;,:") in CODE


def test_most_lines_quote_a_message() -> None:
    assert len(MESSAGES) > len(FIRST_CELLS) / 2
