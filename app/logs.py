"""The format of log lines: text for people, or one JSON object on each line."""

import json
import logging
import sys
import time
from typing import TextIO

from app.config import Settings

_json = json.JSONEncoder(default=str).encode


class _Formatter(logging.Formatter):
    """Writes times as `logging.Formatter` does by default, but works out date and time only once a second."""

    _second = (-1, "")
    """The second that was written last, since 1970, and its text: a pair, so that threads never see halves."""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802
        """Return the time of a record, for example `2026-01-31 12:00:00,123`. `datefmt` is ignored."""
        now = int(record.created)
        second, text = self._second
        if now != second:
            text = time.strftime(self.default_time_format, self.converter(now))
            self._second = now, text
        return f"{text},{int(record.msecs):03}"


class TextFormatter(_Formatter):
    """Formats a line for people: time, level, message, and the record's facts as `name=value`."""

    def usesTime(self) -> bool:  # noqa: N802
        """Have `logging` give each record its time as text, which `formatMessage` writes."""
        return True

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        """Return what comes before the facts and a traceback."""
        return f"{record.asctime} {record.levelname:<7} {record.message}"

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        facts = " ".join([f"{name}={value}" for name, value in getattr(record, "facts", {}).items()])
        return f"{super().format(record)} {facts}".rstrip()


class JsonFormatter(_Formatter):
    """Formats a line as a JSON object: time, level, logger, message, facts, and the traceback if there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line = {"time": self.formatTime(record), "level": record.levelname.lower(), "logger": record.name}
        line |= {"message": record.getMessage()} | getattr(record, "facts", {})
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return _json(line)


class LineHandler(logging.StreamHandler[TextIO]):
    """Writes each line to a stream, with one system call if the stream is standard error."""

    def flush(self) -> None:
        """Flush the stream, unless it writes each line through by itself, as standard error does."""
        if not getattr(self.stream, "line_buffering", False):
            super().flush()


def configure_logging(settings: Settings) -> None:
    """Send the log of the whole process to standard error, unless the embedding program has configured logging."""
    handler = LineHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if settings.log_format == "json" else TextFormatter())
    logging.basicConfig(handlers=[handler], level=settings.log_level.upper())
