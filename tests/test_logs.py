"""The log of a process: what a line has, which lines there are, and in which form."""

import io
import json
import logging
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from app.config import Settings
from app.logs import JsonFormatter, TextFormatter, configure_logging

FACTS = {"request_id": "7", "at": re}


def failed() -> logging.LogRecord:
    """Return the record of an error with facts and a traceback."""
    try:
        raise KeyError("a bug")
    except KeyError:
        return logging.getLogger("app.place").makeRecord(
            "app.place", logging.ERROR, __file__, 1, "%s failed", ("it",), sys.exc_info(), extra={"facts": FACTS}
        )


def test_a_json_line_has_what_was_said_the_facts_and_where_an_error_came_from() -> None:
    text = JsonFormatter().format(failed())
    line: dict[str, Any] = json.loads(text)
    assert "\n" not in text
    assert {name: line[name] for name in ("level", "logger", "message", "request_id")} == {
        "level": "error",
        "logger": "app.place",
        "message": "it failed",
        "request_id": "7",
    }
    assert line["at"] == str(re), "a fact of any kind is no reason to lose a line"
    assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", line["time"])
    assert 'raise KeyError("a bug")' in line["traceback"]


def test_a_line_of_text_has_the_facts_behind_it() -> None:
    assert TextFormatter("%(message)s").format(failed()).endswith(f"KeyError: 'a bug' request_id=7 at={re}")
    plain = logging.makeLogRecord({"msg": "ready"})
    assert TextFormatter("%(message)s").format(plain) == "ready"


@contextmanager
def unconfigured() -> Iterator[logging.Logger]:
    """Give the root logger as it is in a process that has configured nothing; pytest has, for the time of a test."""
    logger = logging.getLogger()
    handlers, level = logger.handlers[:], logger.level
    logger.handlers.clear()
    try:
        yield logger
    finally:
        logger.handlers[:] = handlers
        logger.setLevel(level)


@pytest.mark.parametrize(("log_format", "json_lines"), [("text", False), ("json", True)])
def test_the_log_goes_to_standard_error_in_the_form_and_from_the_level_of_the_settings(
    log_format: Any, json_lines: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    stderr = io.StringIO()
    monkeypatch.setattr("sys.stderr", stderr)
    with unconfigured() as root:
        configure_logging(Settings(log_format=log_format, log_level="warning"))
        root.info("not this")
        root.warning("but this")
    (line,) = stderr.getvalue().splitlines()
    assert line.startswith("{") is json_lines
    assert "but this" in line


def test_a_program_that_has_configured_its_log_keeps_it() -> None:
    theirs = logging.NullHandler()
    with unconfigured() as root:
        root.addHandler(theirs)
        configure_logging(Settings())
        assert root.handlers == [theirs]
