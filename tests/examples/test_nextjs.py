"""The Next.js example as visitors use it: the built app and the real server, in a real browser."""

import json
import os
import signal
import wave

import numpy as np
import pytest
from playwright.sync_api import expect

from docs import openapi
from tests.examples import nextjs_app
from tests.examples.visitor import LONG, Visitor
from tests.polling import wait_until
from tests.ports import free_port
from tests.real_server import clone_request, real_server
from tests.reference_audio import synthetic_speech

# A build takes all processors and writes into the tree, so these tests run in one process.
pytestmark = [pytest.mark.slow, pytest.mark.alone]


def wav_samples(path):
    with wave.open(str(path)) as wav:
        assert (wav.getframerate(), wav.getnchannels(), wav.getsampwidth()) == (24_000, 1, 2)
        return np.frombuffer(wav.readframes(wav.getnframes()), "<i2")


def test_a_recording_is_cloned_and_every_sample_heard(visitor, tmp_path):
    visitor.record(seconds=3)
    visitor.speak()
    visitor.expect_status("The speech is complete.")
    sent = np.frombuffer(visitor.answer()[44:], "<i2")
    assert len(sent) > 2400
    assert np.array_equal(wav_samples(visitor.downloaded(tmp_path)), sent)
    # Silence is played before the first sample, and wherever the server is slower than real time.
    heard = visitor.heard()
    assert np.array_equal(heard[heard != 0], sent[sent != 0])
    [closed_at] = visitor.page.evaluate("window.closings")
    assert closed_at > visitor.page.evaluate("window.firstFrame") + np.flatnonzero(heard)[-1]


def test_audio_is_heard_while_it_is_generated_and_cancelling_frees_the_slot(visitor, server):
    visitor.choose_file()
    visitor.speak(LONG)
    visitor.await_sound()
    assert server.health()["running"] == 1
    visitor.expect_status("The speech is being generated.")
    visitor.page.get_by_role("button", name="Cancel").click()
    visitor.expect_status("Cancelled.")
    server.await_idle()


def test_cancelling_before_the_first_audio_leaves_the_queue(visitor, context, app, server):
    visitor.choose_file()
    visitor.speak(LONG)
    visitor.await_sound()
    second = Visitor(context.new_page(), app)
    second.choose_file()
    second.speak()
    wait_until(lambda: server.health()["waiting"] == 1)
    assert "status=499" not in server.log.read_text()
    second.page.get_by_role("button", name="Cancel").click()
    wait_until(lambda: "status=499" in server.log.read_text())


def test_leaving_the_page_frees_the_slot(visitor, server):
    visitor.choose_file()
    visitor.speak(LONG)
    visitor.await_sound()
    assert server.health()["running"] == 1
    visitor.page.close()
    server.await_idle()


def test_the_speech_can_be_replayed_and_searched(visitor):
    visitor.choose_file()
    visitor.speak()
    visitor.expect_status("The speech is complete.")
    replayed = visitor.page.get_by_label("Speech", exact=True).locator("audio")
    duration = replayed.evaluate("(audio) => audio.duration")
    assert replayed.evaluate("(audio) => audio.seekable.end(0)") == duration > 0
    assert f"{duration:.2f} s" in visitor.page.locator("dl").inner_text()
    replayed.evaluate(
        """(audio) => new Promise((ended) => {
            audio.onended = ended;
            audio.currentTime = audio.duration / 2;
            audio.play();
        })"""
    )


def test_warnings_about_the_recording_are_shown(visitor):
    visitor.choose_file({"name": "voice.wav", "mimeType": "audio/wav", "buffer": synthetic_speech(seconds=2)})
    with visitor.page.expect_response("**/api/voice-clone") as answer:
        visitor.speak()
    visitor.expect_status("The speech is complete.")
    warnings = answer.value.headers["x-reference-warnings"]
    assert "short" in warnings
    expect(visitor.page.get_by_text(warnings)).to_be_visible()


def test_replaying_stops_the_live_sound(visitor):
    visitor.choose_file()
    visitor.speak()
    visitor.await_sound()
    visitor.page.evaluate("window.context.suspend()")  # or the sound might end first
    visitor.expect_status("The speech is complete and still playing.")
    visitor.page.get_by_label("Speech", exact=True).locator("audio").evaluate("(audio) => audio.play()")
    visitor.expect_status("The speech is complete.")
    assert visitor.page.evaluate("window.context.state") == "closed"


def test_a_wrong_key_is_shown(context, built, server, tmp_path):
    with nextjs_app.running(tmp_path, f"http://127.0.0.1:{server.port}", "wrong") as address:
        visitor = Visitor(context.new_page(), address)
        visitor.choose_file()
        with visitor.page.expect_response("**/api/voice-clone") as answer:
            visitor.speak()
        assert answer.value.status == 401
        visitor.expect_error(answer.value.json()["error"])


def test_a_recording_that_is_too_short_is_shown(visitor):
    short = {"name": "voice.wav", "mimeType": "audio/wav", "buffer": synthetic_speech(seconds=0.5)}
    visitor.choose_file(short)
    with visitor.page.expect_response("**/api/voice-clone") as answer:
        visitor.speak()
    assert answer.value.status == 422
    visitor.expect_error(answer.value.json()["error"])


def test_a_server_that_dies_is_shown(visitor, server):
    visitor.choose_file()
    visitor.speak(LONG)
    visitor.await_sound()
    worker = server.worker_pid
    os.kill(worker, signal.SIGKILL)
    visitor.expect_error("The connection broke off before the speech was complete.")
    wait_until(lambda: server.worker_pid != worker)
    server.await_status("healthy")


def test_plain_http_has_no_microphone_but_files_work(context, app, server, tmp_path):
    server.await_idle()
    visitor = Visitor(context.new_page(), app.replace("localhost", "plain.test"))
    expect(visitor.page.get_by_text("only on HTTPS or localhost")).to_be_visible()
    expect(visitor.page.get_by_role("button", name="Record")).to_be_disabled()
    visitor.choose_file()
    visitor.speak()
    visitor.expect_status("The speech is complete.")
    assert len(wav_samples(visitor.downloaded(tmp_path))) > 2400


def test_a_blocked_microphone_is_explained(browser, app):
    context = browser.new_context(permissions=[])
    visitor = Visitor(context.new_page(), app)
    visitor.page.get_by_role("button", name="Record").click()
    visitor.expect_error("The browser blocks the microphone.")
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_accessible_and_fits_a_phone(browser, app, scheme):
    context = browser.new_context(viewport={"width": 320, "height": 640}, color_scheme=scheme)
    visitor = Visitor(context.new_page(), app)
    visitor.choose_file()
    visitor.speak()
    visitor.expect_status("The speech is complete.")
    visitor.page.add_script_tag(path=nextjs_app.APP / "node_modules" / "axe-core" / "axe.min.js")
    found = visitor.page.evaluate("axe.run().then((results) => results.violations)")
    assert found == []
    assert visitor.page.evaluate("document.documentElement.scrollWidth") == 320
    assert visitor.hosts == {app.split("/")[2]}
    context.close()


def test_the_voice_can_be_cloned_with_the_keyboard_alone(visitor):
    visitor.choose_file()
    focused = "document.activeElement.name || document.activeElement.textContent"
    visitor.page.get_by_label("What is said in the recording").focus()
    visitor.page.keyboard.press("Tab")
    visitor.page.keyboard.type("Hello from the web.")
    visitor.page.keyboard.press("Tab")
    assert visitor.page.evaluate(focused) == "consent"
    visitor.page.keyboard.press("Space")
    visitor.page.keyboard.press("Tab")
    assert visitor.page.evaluate(focused) == "Generate speech"
    visitor.page.keyboard.press("Enter")
    visitor.expect_status("The speech is complete.")


def test_the_types_are_those_of_the_server(built, server, tmp_path):
    document = server.get("/openapi.json").body
    assert json.loads(document) == openapi.document()
    (tmp_path / "openapi.json").write_bytes(document)
    nextjs_app.generate(tmp_path / "openapi.json", tmp_path / "voice-server.d.ts")
    committed = nextjs_app.APP / "lib" / "voice-server.d.ts"
    assert (tmp_path / "voice-server.d.ts").read_text() == committed.read_text(), "run `make docs`"


def test_a_quota_that_is_used_up_is_shown(context, built, tmp_path):
    with (
        real_server(tmp_path, rate_limit="1 per hour") as server,
        nextjs_app.running(tmp_path, f"http://127.0.0.1:{server.port}", "secret") as address,
    ):
        assert server.ask(clone_request()).status == 200
        visitor = Visitor(context.new_page(), address)
        visitor.choose_file()
        with visitor.page.expect_response("**/api/voice-clone") as answer:
            visitor.speak()
        assert answer.value.status == 429 and int(answer.value.headers["retry-after"]) > 0
        visitor.expect_error(answer.value.json()["error"])


def test_a_server_that_cannot_be_reached_is_shown(context, built, tmp_path):
    with nextjs_app.running(tmp_path, f"http://127.0.0.1:{free_port()}", "secret") as address:
        visitor = Visitor(context.new_page(), address)
        visitor.choose_file()
        visitor.speak()
        visitor.expect_error("The voice server cannot be reached.")
        assert "ECONNREFUSED" in (tmp_path / "nextjs.log").read_text()
