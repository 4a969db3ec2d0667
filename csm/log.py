"""Logging to stderr: one line per event, as text with `key=value` pairs after the message, or as a JSON object.

What clients send (text, file names, keys) is never logged. So errors of requests are logged with their class and their
stack, but without their message, which might quote the client.
"""

import json
import logging
import sys
import time
import traceback
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

OURS = ("csm", "gunicorn", "flask-limiter")
OWN_HANDLERS = ("transformers", "huggingface_hub")
"""Libraries that write to stderr themselves, in a format of their own."""

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
"""Id of the request that the current thread works for; every line that is logged meanwhile has it."""


class TextFormatter(logging.Formatter):
    """Format records as `2026-01-31T12:00:00.000Z INFO csm.web message key=value`."""

    converter = staticmethod(time.gmtime)
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Return the line, to which `format` may append a traceback."""
        record.message = record.message.replace("\n", "\\n")
        return super().formatMessage(record) + "".join(
            f" {name}={_value(value)}" for name, value in _fields(record).items()
        )


class JsonFormatter(TextFormatter):
    """Format records as one JSON object a line: time, level, logger, message, the fields, and the traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; fields keep their types, and numbers have three decimals."""
        line: dict[str, Any] = {
            "time": self.formatTime(record),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {name: round(v, 3) if isinstance(v, float) else v for name, v in _fields(record).items()}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


FORMATTERS = {"text": TextFormatter, "json": JsonFormatter}


def configure(level: str, log_format: str = "text") -> None:
    """Send all logs to stderr: those of the server from `level` up, those of libraries from WARNING up.

    Args:
        level: as in `CSM_LOG_LEVEL`.
        log_format: a key of `FORMATTERS`.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(FORMATTERS[log_format]())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.captureWarnings(True)
    for name in OURS:
        logging.getLogger(name).setLevel(level)


def replace_own_handlers() -> None:
    """Pass the messages of `OWN_HANDLERS` to our handler; to be called once they have been imported."""
    for name in OWN_HANDLERS:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True


def gunicorn(level: str, log_format: str = "text") -> dict[str, Any]:
    """Return a `logconfig_dict` for gunicorn: its messages in this format, without quotations of requests."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"()": FORMATTERS[log_format]}},
        "filters": {"redact": {"()": WithoutRequests}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
        "root": {"level": "WARNING", "handlers": ["stderr"]},
        # Never at DEBUG, at which gunicorn quotes much more of each request.
        "loggers": {
            "gunicorn.error": {
                "level": "INFO" if level == "DEBUG" else level,
                "filters": ["redact"],
                "propagate": True,
            }
        },
    }


class WithoutRequests(logging.Filter):
    """Remove what clients sent from the messages of gunicorn."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Keep every record, but rewrite those that quote a request."""
        if record.msg.startswith(("Invalid request", "Error handling request", "Socket error processing request")):
            kind = record.msg.replace("%s", "").partition(" from ip=")[0].strip(". ")
            error = record.exc_info[1] if record.exc_info else None
            record.msg = kind if error is None else f"{kind}: {redacted_traceback(error)}"
            record.args, record.exc_info = (), None
        return True


def fields(**values: Any) -> Mapping[str, Any]:
    """Return the argument `extra` of a log call, for appending `values` to the line; None values are left out."""
    return {"fields": {name: value for name, value in values.items() if value is not None}}


def redacted_traceback(error: BaseException) -> str:
    """Return class and stack of an error and its causes, without messages, which might quote the client."""
    causes: list[str] = []
    cause: BaseException | None = error
    while cause is not None and len(causes) < 5:
        frames = traceback.extract_tb(cause.__traceback__)[-8:]
        where = " > ".join(f"{frame.filename.rpartition('/')[2]}:{frame.lineno} {frame.name}" for frame in frames)
        causes.append(f"{type(cause).__module__}.{type(cause).__qualname__} at {where or 'unknown'}")
        cause = cause.__cause__ or cause.__context__
    return " from ".join(causes)


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    """Return the fields of a record, the id of the request first."""
    current = request_id.get()
    return ({} if current is None else {"id": current}) | getattr(record, "fields", {})


def _value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    text = str(value)
    plain = text.isascii() and text.isprintable() and text != "" and not set(' "=') & set(text)
    return text if plain else json.dumps(text)
