"""The format of log lines: text for people, or one JSON object on each line."""

import json
import logging
import sys

from app.config import Settings


class TextFormatter(logging.Formatter):
    """Formats a line for people: time, level, message, and the record's facts as `name=value`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        facts = " ".join(f"{name}={value}" for name, value in getattr(record, "facts", {}).items())
        return f"{super().format(record)} {facts}".rstrip()


class JsonFormatter(logging.Formatter):
    """Formats a line as a JSON object: time, level, logger, message, facts, and the traceback if there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line = {"time": self.formatTime(record), "level": record.levelname.lower(), "logger": record.name}
        line |= {"message": record.getMessage()} | getattr(record, "facts", {})
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def configure_logging(settings: Settings) -> None:
    """Send the log of the whole process to standard error, unless the embedding program has configured logging."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        JsonFormatter() if settings.log_format == "json" else TextFormatter("%(asctime)s %(levelname)-7s %(message)s")
    )
    logging.basicConfig(handlers=[handler], level=settings.log_level.upper())
