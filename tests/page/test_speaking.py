"""From a recording to speech that is heard: the page in a real browser, before the real server."""

import base64
import re

import numpy as np
import pytest
from playwright.sync_api import expect

from tests.browser import heard
from tests.page.visitor import LONG, TRANSCRIPT
from tests.reference_audio import VOICE, synthetic_speech

pytestmark = pytest.mark.slow


def test_a_recording_is_cloned_and_every_sample_is_heard(visit):
    visitor = visit(ears=True)
    visitor.enter_key()
    visitor.record()
    visitor.speak()
    visitor.await_end()
    file, played = visitor.downloaded(), heard(visitor.page)
    assert np.abs(file).max() > 500
    # Silence is left out: there is some before the first sample, and where the server fell behind.
    assert np.array_equal(played[played != 0], file[file != 0])
    last = visitor.page.evaluate("window.firstFrame") + np.flatnonzero(played)[-1]
    assert visitor.page.evaluate("window.closings.at(-1)") > last, "the last samples did not leave the device"


def test_it_is_heard_before_the_answer_is_complete(visit, server):
    visitor = visit(ears=True)
    visitor.clone(LONG)
    visitor.await_sound()
    assert server.health()["running"] == 1
    visitor.button("Cancel").click()
    expect(visitor.page.get_by_text("Cancelled.").first).to_be_visible()
    server.await_idle()
    assert len(visitor.downloaded()) > 0, "what was heard before is kept"


def test_length_and_estimate_of_the_text_and_speed_of_the_answer_are_told(visitor):
    visitor.enter_key()
    visitor.field("Choose a voice").select_option("default (for everybody)")
    visitor.field("Text to say").fill("One, two, three.")
    expect(visitor.page.locator("#text-count")).to_have_text(
        re.compile(r"^16 of 10.000 characters · about \d+\Ds of speech$")
    )
    visitor.button("Generate speech").click()
    visitor.await_end()
    expect(visitor.page.locator(".facts").first).to_have_text(
        re.compile(r"^First audio after .+s · .+s of speech in .+s · \d+\.\d × real time$")
    )


def test_cancelling_before_the_first_audio_frees_the_server(visitor, server):
    visitor.enter_key()
    visitor.choose_file()
    visitor.speak(LONG)
    visitor.button("Cancel").click()
    server.await_idle()
    expect(visitor.button("Cancel")).to_be_hidden()


def test_one_can_seek_in_the_result(visitor):
    visitor.clone()
    visitor.await_end()
    seconds = len(visitor.downloaded()) / 24_000
    audio = visitor.page.locator(".result audio")
    assert audio.evaluate("audio => audio.duration") == pytest.approx(seconds, abs=1e-3)
    assert audio.evaluate("audio => audio.seekable.end(0)") == pytest.approx(seconds, abs=1e-3)
    audio.evaluate("""audio => new Promise((resolve) => {
        audio.onended = resolve;
        audio.currentTime = audio.duration - 0.3;
        audio.play();
    })""")
    assert audio.evaluate("audio => audio.currentTime") == pytest.approx(seconds, abs=1e-3)


def test_the_stream_can_be_paused(visitor, server):
    visitor.clone(LONG)
    visitor.await_audio()
    visitor.button("Pause").click()
    visitor.button("Continue").click()
    expect(visitor.button("Pause")).to_be_visible()
    visitor.button("Cancel").click()
    server.await_idle()


def test_a_pause_after_the_last_sample_has_arrived_goes_on_in_the_file(visitor):
    visitor.clone()
    expect(visitor.button("Download")).to_be_visible()
    audio = visitor.page.locator(".result audio")
    expect(audio).to_be_hidden()
    visitor.button("Pause").focus()
    visitor.page.keyboard.press("Enter")
    expect(audio).to_be_visible()
    expect(audio).to_be_focused()
    assert audio.evaluate("audio => audio.paused")
    assert 0 < audio.evaluate("audio => audio.currentTime") < audio.evaluate("audio => audio.duration")


def test_what_plays_is_not_recorded(visitor):
    visitor.choose_file()
    audio = visitor.page.locator("[data-part=audio]").first
    audio.evaluate("audio => { audio.loop = true; return audio.play(); }")
    visitor.button("Record").click()
    visitor.await_recorded(1)
    assert audio.evaluate("audio => audio.paused")
    visitor.button("Stop").click()
    expect(visitor.page.get_by_text("Recording 1", exact=True)).to_be_visible()


def test_while_recording_there_is_nothing_else_to_choose(visitor):
    visitor.button("Record").click()
    expect(visitor.text("Read this aloud, then press Stop.")).to_be_visible()
    expect(visitor.button("Choose a file")).to_be_hidden()
    visitor.enter_key()
    visitor.button("Generate speech").click()
    visitor.expect_error("Stop the recording first.")
    expect(visitor.button("Stop")).to_be_focused()
    visitor.field("Choose a voice").select_option("default (for everybody)")
    visitor.field("Choose a voice").select_option("Your own recording or file")
    expect(visitor.page.get_by_text("Recording 1", exact=True)).to_be_visible()
    expect(visitor.button("Choose a file")).to_be_visible()


def test_what_the_server_says_about_the_recording_is_shown(visitor):
    visitor.enter_key()
    visitor.choose_file({"name": "short.wav", "mimeType": "audio/wav", "buffer": synthetic_speech(3)})
    visitor.field("The speaker has agreed").check()
    visitor.button("Generate speech").click()
    visitor.await_end()
    result = visitor.page.locator(".result")
    expect(result).to_contain_text("Short recording: only")
    expect(result).to_contain_text("The words of the recording were not given.")


def test_consent_and_words_belong_to_one_file(visitor):
    visitor.choose_file()
    visitor.field("Words of the recording").fill(TRANSCRIPT)
    visitor.field("The speaker has agreed").check()
    visitor.choose_file({"name": "other.wav", "mimeType": "audio/wav", "buffer": synthetic_speech(3)})
    expect(visitor.field("The speaker has agreed")).not_to_be_checked()
    expect(visitor.field("Words of the recording")).to_have_value("")


def test_a_file_is_dropped(visitor):
    drop = """(target, content) => {
        const transfer = new DataTransfer();
        transfer.items.add(new File([Uint8Array.from(atob(content), (c) => c.charCodeAt(0))], "dropped.webm"));
        for (const type of ["dragover", "drop"]) target.dispatchEvent(new DragEvent(type, { dataTransfer: transfer }));
    }"""
    content = base64.b64encode(VOICE.read_bytes()).decode()
    visitor.page.locator("[data-part=drop]").first.evaluate(drop, content)
    expect(visitor.page.locator("#live p").last).to_have_text("dropped.webm is ready.")
    expect(visitor.text("8.0 s · level")).to_be_visible()


def test_playing_the_file_ends_the_stream(visit, server):
    visitor = visit(ears=True)
    visitor.clone(LONG)
    visitor.await_sound()
    visitor.button("Cancel").click()
    audio = visitor.page.locator(".result audio")
    expect(audio).to_be_visible()
    audio.evaluate("audio => audio.play()")
    expect(visitor.button("Pause")).to_be_hidden()
    assert visitor.page.evaluate("window.closings.length") == 1
    server.await_idle()


def test_results_are_listed_newest_first_and_can_be_removed(visitor):
    visitor.clone("The first.")
    visitor.await_end()
    visitor.speak("The second.")
    visitor.await_end()
    titles = visitor.page.locator(".result h3")
    expect(titles).to_have_text(["The second.", "The first."])
    visitor.button("Remove").first.click()
    expect(titles).to_have_text(["The first."])
    visitor.button("Remove").click()
    expect(visitor.page.get_by_text("What you generate appears here")).to_be_visible()


def test_the_same_seed_gives_the_same_samples(visitor):
    visitor.enter_key()
    visitor.choose_file()
    visitor.page.get_by_text("Advanced settings").click()
    visitor.field("Seed").fill("7")
    visitor.field("Temperature").fill("0.6")
    visitor.speak("Again.")
    visitor.await_end()
    first = visitor.downloaded()
    visitor.speak("Again.")
    visitor.await_end()
    expect(visitor.page.locator(".result")).to_have_count(2)
    assert np.array_equal(visitor.downloaded(), first)


def test_the_words_to_read_aloud_become_the_transcript_which_can_be_edited(visitor):
    visitor.record(2)
    words = visitor.field("Words of the recording")
    assert words.input_value().startswith("The morning train")
    words.fill(TRANSCRIPT)
    visitor.button("Record again").click()
    visitor.button("Stop").click()
    expect(visitor.page.get_by_text("Recording 2", exact=True)).to_be_visible()
    assert words.input_value() == TRANSCRIPT


def test_an_insecure_address_has_no_microphone_but_speaks_from_a_file(visit):
    visitor = visit("plain.test")
    expect(visitor.text("Browsers allow the microphone only over HTTPS")).to_be_visible()
    expect(visitor.button("Record")).to_be_disabled()
    visitor.clone()
    visitor.await_end()
    expect(visitor.page.locator(".result audio")).to_be_visible()
    assert len(visitor.downloaded()) > 0
