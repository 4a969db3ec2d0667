"""What the page shows when something is wrong: the server's own sentence, where it belongs."""

import json
import os
import signal
import socket

import pytest
from playwright.sync_api import expect

from tests import raw_http
from tests.page.conftest import OTHER_KEY, QUOTA
from tests.page.visitor import KEY, LONG
from tests.polling import wait_until
from tests.real_server import clone_request, real_server

pytestmark = pytest.mark.slow


def error_of(answer):
    return json.loads(answer.body)["error"]


def test_a_wrong_key_is_asked_for_again(visitor):
    visitor.choose_file()
    visitor.speak()
    visitor.expect_error("Enter the key first.")
    visitor.enter_key("wrong")
    visitor.expect_error("The server refused this key.")
    expect(visitor.field("API key")).to_be_focused()
    visitor.enter_key()
    expect(visitor.field("API key")).to_be_hidden()
    visitor.button("Generate speech").click()
    visitor.await_end()


def test_the_key_is_kept_in_memory_only(visitor):
    visitor.clone()
    visitor.await_end()
    assert KEY not in visitor.page.url
    assert visitor.page.evaluate("[localStorage.length, sessionStorage.length, document.cookie]") == [0, 0, ""]
    assert KEY not in visitor.page.evaluate("document.documentElement.outerHTML")
    visitor.page.reload()
    expect(visitor.field("API key")).to_have_value("")


def test_a_used_up_quota_is_explained(visitor, server):
    request = raw_http.post(b"", X_API_Key=OTHER_KEY)
    answers = (server.ask(request) for _ in range(QUOTA + 1))
    assert any(answer.status == 429 for answer in answers)
    visitor.enter_key(OTHER_KEY)
    visitor.choose_file()
    visitor.speak()
    visitor.expect_error("Your quota of")


def test_a_full_server_is_explained(visitor, server):
    visitor.enter_key()
    visitor.choose_file()
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(clone_request(text=2 * LONG, max_seconds="600"))
        wait_until(lambda: server.health()["running"] == 1)
        expect(visitor.page.get_by_text("Busy: 1 in progress")).to_be_visible()
        visitor.speak()
        visitor.expect_error(error_of(server.ask(clone_request())))
    server.await_idle()
    assert visitor.page.locator(".result").count() == 0


def test_what_the_server_refuses_is_shown_at_the_field(visitor):
    visitor.enter_key()
    visitor.choose_file()
    visitor.page.get_by_text("Advanced settings").click()
    visitor.field("Seed").fill("99999999999999999999")
    visitor.speak()
    visitor.expect_error("seed")
    expect(visitor.field("Seed")).to_be_focused()
    expect(visitor.field("Seed")).to_have_attribute("aria-invalid", "true")
    visitor.field("Seed").fill("1")
    visitor.button("Generate speech").click()
    visitor.await_end()


def test_a_file_that_is_no_audio_is_explained(visitor):
    visitor.enter_key()
    visitor.choose_file({"name": "notes.wav", "mimeType": "audio/wav", "buffer": b"no audio at all " * 99})
    visitor.expect_error("This browser cannot show this file")
    visitor.speak()
    visitor.expect_error("The file is damaged or is not audio")


@pytest.mark.parametrize(
    ("missing", "sentence"),
    [("voice", "Record a voice first"), ("text", "Write what to say."), ("consent", "Tick this box.")],
)
def test_what_is_missing_is_said_before_anything_is_sent(visitor, missing, sentence):
    visitor.enter_key()
    if missing != "voice":
        visitor.choose_file()
    if missing == "text":
        visitor.field("Text to say").fill(" ")
        visitor.field("The speaker has agreed").check()
    visitor.button("Generate speech").click()
    visitor.expect_error(sentence)


def test_a_text_that_is_too_long_is_refused_before_it_is_sent(visitor):
    visitor.enter_key()
    visitor.choose_file()
    visitor.speak("\N{GRINNING FACE}" * 10_001)
    visitor.expect_error("This text is too long: at most 10,000 characters.")
    expect(visitor.field("Text to say")).to_be_focused()
    assert visitor.page.locator(".result").count() == 0


def test_recordings_that_cannot_be_used_are_refused_before_they_are_sent(visitor, silence, shout):
    visitor.choose_file({"name": "silence.wav", "mimeType": "audio/wav", "buffer": silence(3)})
    visitor.expect_error("Nothing can be heard.")
    visitor.choose_file({"name": "click.wav", "mimeType": "audio/wav", "buffer": silence(0.5)})
    visitor.expect_error("This is shorter than a second.")
    visitor.choose_file({"name": "shout.wav", "mimeType": "audio/wav", "buffer": shout})
    visitor.expect_error("Clipped:")
    visitor.expect_error("Short:")
    large = {"name": "large.wav", "mimeType": "audio/wav", "buffer": bytes(11_000_000)}
    visitor.page.locator("input[type=file]").first.set_input_files(large)
    visitor.expect_error("This file is too large: at most 10 MB.")


def test_a_microphone_that_is_not_allowed_is_explained(visit):
    visitor = visit(permissions=[])
    visitor.button("Record").click()
    visitor.expect_error("The browser did not allow the microphone.")
    expect(visitor.button("Record")).to_be_focused()


def test_the_page_waits_for_a_server_that_is_loading_and_says_when_it_is_gone(visit, tmp_path):
    with real_server(tmp_path, healthy=False) as server:
        visitor = visit(port=server.port)
        status = visitor.page.locator("#status")
        expect(status).to_contain_text("The server is starting")
        server.await_status("healthy")
        expect(status).to_contain_text("Ready")
        expect(visitor.page.get_by_text("not of CSM-1B's quality")).to_be_visible()
    expect(status).to_contain_text("The server does not answer.")


def test_a_server_without_keys_asks_for_none(visit, tmp_path):
    with real_server(tmp_path, api_keys="", max_audio_seconds=2, watermark="on") as server:
        visitor = visit(port=server.port)
        expect(visitor.page.locator("#status")).to_contain_text("Ready")
        expect(visitor.field("API key")).to_be_hidden()
        visitor.choose_file()
        visitor.speak()
        visitor.await_end()
        expect(visitor.page.locator(".result")).to_contain_text("marked as synthetic by an inaudible watermark")
        visitor.page.get_by_text("Copy as code", exact=True).click()
        visitor.button("Copy as curl").click()
        assert "Authorization" not in visitor.page.locator("pre").inner_text()


def test_a_stream_that_breaks_off_is_called_incomplete(visit, tmp_path):
    with real_server(tmp_path) as server:
        visitor = visit(port=server.port)
        visitor.clone(LONG)
        visitor.await_audio()
        os.kill(server.worker_pid, signal.SIGKILL)
        visitor.expect_error("Incomplete:")
        assert len(visitor.downloaded()) > 0
