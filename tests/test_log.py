import io
import logging
import subprocess
import sys

import pytest

from csm import log


@pytest.fixture
def line():
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(log.Formatter())
    logger = logging.Logger("csm.test")
    logger.addHandler(handler)

    def write(message, *args, **fields):
        logger.warning(message, *args, extra=log.fields(**fields))
        return stream.getvalue()

    return write


def test_a_line_has_time_level_name_and_fields(line):
    text = line("request", id="a-1", seconds=1.23456, name="two words", quote='"', none=None, empty="", count=3)
    stamp, rest = text.split(" ", 1)
    assert stamp.endswith("Z") and stamp[10] == "T"
    assert rest == 'WARNING csm.test request id=a-1 seconds=1.235 name="two words" quote="\\"" empty="" count=3\n'


def test_messages_and_fields_cannot_forge_a_line(line):
    text = line("hello %s", "x\n2030-01-01T00:00:00Z INFO forged", field="y\nforged\r\x1b[0m")
    assert text.count("\n") == 1 and "\x1b" not in text and "\r" not in text


def test_a_redacted_traceback_has_no_messages():
    try:
        try:
            int("CANARY")
        except ValueError as error:
            raise KeyError("CANARY") from error
    except KeyError as error:
        text = log.redacted_traceback(error)
    assert text.startswith("builtins.KeyError at test_log.py:")
    assert " from builtins.ValueError at test_log.py:" in text
    assert "CANARY" not in text


def test_below_warning_only_our_loggers_are_shown():
    code = (
        "import logging; from csm import log; log.configure('DEBUG');"
        "logging.getLogger('csm.web').debug('ours'); logging.getLogger('urllib3').info('theirs')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "DEBUG csm.web ours" in done.stderr
    assert "theirs" not in done.stderr


@pytest.mark.parametrize(
    ("message", "logged"),
    [
        ("Invalid request from ip=127.0.0.1: Invalid HTTP request line: 'CANARY'", "Invalid request"),
        ("Booting worker with pid: 7", "Booting worker with pid: 7"),
    ],
)
def test_messages_of_gunicorn_lose_the_request(message, logged):
    record = logging.LogRecord("gunicorn.error", logging.WARNING, __file__, 1, message, (), None)
    assert log.WithoutRequests().filter(record)
    assert record.getMessage() == logged


def test_an_error_of_gunicorn_is_logged_without_its_message():
    try:
        raise ValueError("CANARY")
    except ValueError:
        said = ("Error handling request %s %s", ("POST", "/CANARY"), sys.exc_info())
    record = logging.LogRecord("gunicorn.error", logging.ERROR, __file__, 1, *said)
    log.WithoutRequests().filter(record)
    text = log.Formatter().format(record)
    assert "CANARY" not in text and text.count("\n") == 0
    assert "Error handling request: builtins.ValueError at test_log.py" in text
