"""The log of a process: what a line has, which lines there are, and in which form."""

import io
import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from app.config import Settings
from app.logs import JsonFormatter, LineHandler, TextFormatter, configure_logging

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
    assert TextFormatter().format(failed()).endswith(f"KeyError: 'a bug' request_id=7 at={re}")
    plain = logging.makeLogRecord({"msg": "ready", "levelname": "INFO"})
    assert TextFormatter().format(plain) == f"{logging.Formatter().formatTime(plain)} INFO    ready"


def test_each_line_has_the_time_of_its_own_record() -> None:
    ours, standard = TextFormatter(), logging.Formatter("%(asctime)s %(levelname)-7s %(message)s")
    for created, msecs in [(1e9, 0.0), (1e9 + 0.007, 7.0), (1e9 + 61.999, 999.0), (1e9, 0.0)]:
        record = logging.makeLogRecord({"msg": "m", "levelname": "INFO", "created": created, "msecs": msecs})
        assert ours.format(record) == standard.format(record)


WRITER = """
import sys
from app.config import Settings
from app.logs import configure_logging
from app.observability.access import AccessLog
configure_logging(Settings(log_level="info"))
for _ in range(2000):
    AccessLog().write("GET", "/", 200, lambda status: {"status": status, "code": sys.argv[1] * 500})
"""


def test_lines_of_processes_that_write_to_one_pipe_are_whole() -> None:
    read, write = os.pipe()
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, name], stderr=write) for name in "ab"]
    os.close(write)
    with open(read) as pipe:
        lines = [line.split(" ", 2)[2] for line in pipe.read().splitlines()]
    assert [writer.wait(60) for writer in writers] == [0, 0]
    whole = {f"INFO    GET '/' status=200 code={name * 500}" for name in "ab"}
    assert set(lines) == whole
    assert len(lines) == 4000


def test_a_stream_that_keeps_lines_back_is_flushed_after_each() -> None:
    stream = io.TextIOWrapper(raw := io.BytesIO())
    LineHandler(stream).handle(logging.makeLogRecord({"msg": "ready"}))
    assert raw.getvalue() == b"ready\n"


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
