"""OpenAI's own Python client against the real server with the demo model."""

import asyncio
import base64
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import openai
import pytest

from csm.audio.decode import decode
from tests.real_server import RealServer
from tests.reference_audio import TRANSCRIPT, VOICE

EXTRAS: dict[str, Any] = {
    "ref_audio": base64.b64encode(VOICE.read_bytes()).decode(),
    "ref_text": TRANSCRIPT,
    "seed": 1,
    "max_seconds": 1.2,
}
SPEECH: dict[str, Any] = {
    "model": "tts-1",
    "input": "Hello there, and good day to you and your brother.",
    "voice": "alloy",
    "extra_body": EXTRAS,
}


@pytest.fixture
def client(server: RealServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"http://127.0.0.1:{server.port}/v1", api_key="secret", max_retries=0) as client:
        yield client


def pcm(client, **fields) -> bytes:
    return client.audio.speech.create(**{**SPEECH, "response_format": "pcm", **fields}).content


def test_a_client_that_knows_nothing_of_this_server_gets_mp3(client):
    answer = client.audio.speech.create(**SPEECH)
    assert answer.response.headers["Content-Type"] == "audio/mpeg"
    assert len(decode(answer.content, 10).samples) > 24_000 * 0.2


def test_every_format_has_the_same_speech(client):
    samples = np.frombuffer(pcm(client), "<i2")
    assert len(samples) >= 1920 and np.abs(samples).max() > 100
    for name in ("wav", "flac"):
        decoded = decode(client.audio.speech.create(**SPEECH, response_format=name).content, 10)
        assert decoded.sample_rate == 24_000
        np.testing.assert_array_equal(np.rint(decoded.samples * 32768), samples)


def test_audio_arrives_while_it_is_generated(client):
    long = {**SPEECH, "input": "One, two, three, four, five. " * 6, "extra_body": EXTRAS | {"max_seconds": 4}}
    with client.audio.speech.with_streaming_response.create(**long, response_format="pcm") as answer:
        pieces = list(answer.iter_bytes())
    assert len(pieces) > 3
    assert b"".join(pieces) == pcm(client, input=long["input"], extra_body=long["extra_body"])


def test_the_async_client_gets_the_same_speech(server, client):
    async def ask() -> bytes:
        url = f"http://127.0.0.1:{server.port}/v1"
        async with openai.AsyncOpenAI(base_url=url, api_key="secret") as asynchronous:
            answer = await asynchronous.audio.speech.create(**SPEECH, response_format="pcm")
            return answer.content

    assert asyncio.run(ask()) == pcm(client)


def test_events_carry_the_same_speech_and_the_usage(client):
    fields = {**SPEECH, "response_format": "pcm", "stream_format": "sse"}
    with client.audio.speech.with_streaming_response.create(**fields) as answer:
        events = [json.loads(line.removeprefix("data: ")) for line in answer.iter_lines() if line.startswith("data: ")]
    audio = b"".join(base64.b64decode(event["audio"]) for event in events[:-1])
    assert audio == pcm(client)
    assert events[-1]["type"] == "speech.audio.done"
    assert events[-1]["usage"]["output_tokens"] == len(audio) // 3840


def test_the_models_can_be_listed_and_looked_up(client, server):
    served = server.health()["model"]
    listed = [model.id for model in client.models.list()]
    assert listed[0] == served and "tts-1" in listed
    assert client.models.retrieve(served).id == served


def test_reference_audio_that_cannot_be_decoded_is_an_api_error(client):
    with pytest.raises(openai.APIStatusError) as raised:
        pcm(client, extra_body=EXTRAS | {"ref_audio": base64.b64encode(b"no audio at all").decode()})
    assert raised.value.status_code == 415 and "audio" in raised.value.message
