"""Logging: one line per event, `key=value` pairs behind the message, to stderr.

What clients sent (text, file names, keys) never goes into a log. So errors of requests are logged by their
class and the lines of code they passed, without their message, which might quote the client.
"""

import json
import logging
import sys
import time
import traceback
from collections.abc import Mapping
from typing import Any

OURS = ("csm", "gunicorn", "flask-limiter")


class Formatter(logging.Formatter):
    """`2026-01-31T12:00:00.000Z INFO csm.web message key=value`."""

    converter = staticmethod(time.gmtime)
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Return the line without the traceback that `format` may append."""
        record.message = record.message.replace("\n", "\\n")
        return super().formatMessage(record) + "".join(
            f" {name}={_value(value)}" for name, value in getattr(record, "fields", {}).items()
        )


def configure(level: str) -> None:
    """Send all logs to stderr: ours from `level` on, those of libraries from WARNING on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Formatter())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    for name in OURS:
        logging.getLogger(name).setLevel(level)


def gunicorn(level: str) -> dict[str, Any]:
    """Return gunicorn's `logconfig_dict`: its messages in our format, without what they quote of requests."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"()": Formatter}},
        "filters": {"redact": {"()": WithoutRequests}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
        "root": {"level": "WARNING", "handlers": ["stderr"]},
        # Never at DEBUG, where gunicorn quotes much more.
        "loggers": {
            "gunicorn.error": {
                "level": "INFO" if level == "DEBUG" else level,
                "filters": ["redact"],
                "propagate": True,
            }
        },
    }


class WithoutRequests(logging.Filter):
    """Removes what clients sent from gunicorn's messages."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Keep every record; rewrite those about a request."""
        if record.msg.startswith(("Invalid request", "Error handling request", "Socket error processing request")):
            kind = record.msg.replace("%s", "").partition(" from ip=")[0].strip(". ")
            error = record.exc_info[1] if record.exc_info else None
            record.msg = kind if error is None else f"{kind}: {redacted_traceback(error)}"
            record.args, record.exc_info = (), None
        return True


def fields(**values: Any) -> Mapping[str, Any]:
    """Return the `extra` of a log call that appends `values` to the line; None values are left out."""
    return {"fields": {name: value for name, value in values.items() if value is not None}}


def redacted_traceback(error: BaseException) -> str:
    """Return the class of an error and where it was raised, without its message, which might quote the client."""
    causes: list[str] = []
    cause: BaseException | None = error
    while cause is not None and len(causes) < 5:
        frames = traceback.extract_tb(cause.__traceback__)[-8:]
        where = " > ".join(f"{frame.filename.rpartition('/')[2]}:{frame.lineno} {frame.name}" for frame in frames)
        causes.append(f"{type(cause).__module__}.{type(cause).__qualname__} at {where or 'unknown'}")
        cause = cause.__cause__ or cause.__context__
    return " from ".join(causes)


def _value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    text = str(value)
    plain = text.isascii() and text.isprintable() and text != "" and not set(' "=') & set(text)
    return text if plain else json.dumps(text)
