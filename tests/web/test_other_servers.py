"""The application under other WSGI servers: Flask's own, and waitress."""

import contextlib
import http.client
import json
import threading

import pytest
import waitress.server
from werkzeug.serving import make_server

from tests import raw_http
from tests.polling import wait_until
from tests.web.fake_synthesizer import CHUNK


def flask_server(app):
    server = make_server("127.0.0.1", 0, app, threaded=True)
    return server, server.server_port, server.serve_forever, server.shutdown


def waitress_server(app):
    server = waitress.server.create_server(app, host="127.0.0.1", port=0)

    def run():
        # Its loop may poll a socket that `close`, called from another thread, has just closed.
        with contextlib.suppress(OSError):
            server.run()

    return server, int(server.effective_port), run, server.close


@pytest.fixture(params=[flask_server, waitress_server])
def port(request, make_app):
    server, port, run, stop = request.param(make_app(max_upload_mb=1))
    thread = threading.Thread(target=run)
    thread.start()
    yield port
    stop()
    thread.join(10)
    del server


def speak(port, text="chunks=3", **fields):
    return raw_http.ask(port, raw_http.post(raw_http.form(text, **fields)))


def test_audio_is_served(port):
    assert speak(port).body[44:] == 3 * CHUNK
    assert speak(port, stream="false").is_complete


def test_a_stream_that_fails_does_not_look_complete(port, fake):
    answer = speak(port, "chunks=9 fail=GenerationFailed after=2")
    assert answer.status == 200
    assert len(answer.body) < 44 + 9 * len(CHUNK)
    assert not answer.is_complete
    wait_until(lambda: fake.running == 0)


def test_errors_before_the_first_byte_have_their_status(port):
    assert speak(port, "fail=Busy").status == 503
    assert raw_http.ask(port, raw_http.post(raw_http.form()[:-20])).status == 400


def test_a_body_too_large_is_answered(port):
    for key, status in (("secret", 413), ("wrong", 401)):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        headers = {"X-API-Key": key, "Content-Type": raw_http.FORM_TYPE}
        connection.request("POST", "/clone-voice", raw_http.form(audio=bytes(5_000_000)), headers)
        answer = connection.getresponse()
        assert answer.status == status
        assert json.load(answer)["status"] == status
        connection.close()


def test_a_client_that_disconnects_stops_the_generation(port, fake):
    with raw_http.connect(port) as connection:
        connection.sendall(raw_http.post(raw_http.form("chunks=600 pace=0.05")))
        assert connection.recv(1000)
    wait_until(lambda: fake.events() == ["begin", "end"], 30)
