"""Which exceptions OpenAI's Python client raises for our errors, against a real server with a fake synthesizer."""

import base64
from typing import Any

import openai
import pytest

from tests import raw_http
from tests.polling import wait_until

SPEECH: dict[str, Any] = {"model": "tts-1", "voice": "alloy", "response_format": "pcm"}
REFERENCE = {"ref_audio": base64.b64encode(b"sound").decode()}


@pytest.fixture
def connect():
    """Make clients of servers; close them afterwards."""
    made = []

    def make(server, key="secret", retries=0):
        url = f"http://127.0.0.1:{server.port}/v1"
        made.append(openai.OpenAI(base_url=url, api_key=key, max_retries=retries))
        return made[-1]

    yield make
    for client in made:
        client.close()


def speak(client, text="chunks=1", **extras):
    return client.audio.speech.create(**SPEECH, input=text, extra_body=REFERENCE | extras)


def test_a_wrong_key(server, connect):
    with pytest.raises(openai.AuthenticationError) as raised:
        speak(connect(server, "wrong"))
    assert raised.value.code == "invalid_api_key"


def test_an_unknown_model(server, connect):
    with pytest.raises(openai.NotFoundError) as raised:
        connect(server).models.retrieve("whisper-1")
    assert raised.value.code == "model_not_found"


def test_an_invalid_field(server, connect):
    with pytest.raises(openai.BadRequestError) as raised:
        speak(connect(server), speed=9)
    assert (raised.value.param, raised.value.type) == ("speed", "invalid_request_error")
    assert raised.value.request_id == raised.value.response.headers["X-Request-ID"]


def test_a_used_up_quota(serve, connect):
    client = connect(serve(rate_limit="1 per minute"))
    speak(client)
    with pytest.raises(openai.RateLimitError) as raised:
        speak(client)
    assert int(raised.value.response.headers["Retry-After"]) >= 1


def test_a_busy_server_and_a_client_that_tries_again(serve, connect):
    server = serve(capacity=1)
    with raw_http.connect(server.port) as other:
        other.sendall(raw_http.clone_request("chunks=2 hold=1"))
        wait_until(lambda: server.happened("begin"))
        with pytest.raises(openai.InternalServerError) as raised:
            speak(connect(server))
        assert raised.value.status_code == 503 and raised.value.response.headers["Retry-After"]
        server.release()
    wait_until(lambda: server.is_idle)
    assert speak(connect(server, retries=2)).content


def test_a_disconnect_ends_the_generation(server, connect):
    fields = {**SPEECH, "input": "chunks=5 hold=2", "extra_body": REFERENCE}
    with connect(server).audio.speech.with_streaming_response.create(**fields) as answer:
        next(answer.iter_bytes())
    wait_until(lambda: server.happened("disconnected"))
    wait_until(lambda: server.is_idle)
