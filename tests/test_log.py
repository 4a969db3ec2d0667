import io
import json
import logging
import subprocess
import sys

import pytest

from csm import log


@pytest.fixture
def make_logger():
    def make(log_format):
        stream = io.StringIO()
        handler = logging.StreamHandler(stream)
        handler.setFormatter(log.FORMATTERS[log_format]())
        logger = logging.Logger("csm.test")
        logger.addHandler(handler)
        return logger, stream

    return make


@pytest.fixture
def line(make_logger):
    logger, stream = make_logger("text")

    def write(message, *args, **fields):
        logger.warning(message, *args, extra=log.fields(**fields))
        return stream.getvalue()

    return write


@pytest.fixture
def current_request():
    token = log.request_id.set("r-1")
    yield
    log.request_id.reset(token)


def test_a_line_has_time_level_name_and_fields(line):
    text = line("request", id="a-1", seconds=1.23456, name="two words", quote='"', none=None, empty="", count=3)
    stamp, rest = text.split(" ", 1)
    assert stamp.endswith("Z") and stamp[10] == "T"
    assert rest == 'WARNING csm.test request id=a-1 seconds=1.235 name="two words" quote="\\"" empty="" count=3\n'


def test_messages_and_fields_cannot_forge_a_line(line):
    text = line("hello %s", "x\n2030-01-01T00:00:00Z INFO forged", field="y\nforged\r\x1b[0m")
    assert text.count("\n") == 1 and "\x1b" not in text and "\r" not in text


def test_json_keeps_the_types_of_fields(make_logger):
    logger, stream = make_logger("json")
    logger.warning(
        "two %s", "lines\nof text", extra=log.fields(seconds=1.23456, count=3, done=True, name="ä", none=None)
    )
    text = stream.getvalue()
    assert text.count("\n") == 1 and text.isascii()
    line = json.loads(text)
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "WARNING",
        "logger": "csm.test",
        "message": "two lines\nof text",
        "seconds": 1.235,
        "count": 3,
        "done": True,
        "name": "ä",
    }


def test_a_traceback_is_a_part_of_the_json_object(make_logger):
    logger, stream = make_logger("json")
    try:
        raise ValueError("a reason")
    except ValueError:
        logger.exception("failed")
    [text] = stream.getvalue().splitlines()
    assert json.loads(text)["exception"].endswith("ValueError: a reason")


@pytest.mark.parametrize(("log_format", "written"), [("text", " request id=r-1 status=200\n"), ("json", '"id": "r-1"')])
def test_a_line_has_the_id_of_the_current_request(make_logger, current_request, log_format, written):
    logger, stream = make_logger(log_format)
    logger.warning("request", extra=log.fields(status=200))
    assert written in stream.getvalue()


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


def test_messages_of_libraries_that_write_themselves_and_warnings_are_json():
    code = (
        "from csm import log; log.configure('INFO', 'json');"
        "import logging, warnings; from transformers.utils.logging import get_logger;"
        "get_logger('transformers.here'); log.replace_own_handlers();"
        "get_logger('transformers.here').warning('theirs'); warnings.warn('old')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert [line["logger"] for line in lines] == ["transformers.here", "py.warnings"]
    assert lines[0]["message"] == "theirs" and "UserWarning: old" in lines[1]["message"]


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
    text = log.TextFormatter().format(record)
    assert "CANARY" not in text and text.count("\n") == 0
    assert "Error handling request: builtins.ValueError at test_log.py" in text
