"""Stored voices: to listen to, to use, to save and to delete."""

import re

import pytest
from playwright.sync_api import expect

from tests.page.conftest import OTHER_KEY
from tests.page.visitor import TRANSCRIPT
from tests.real_server import real_server
from tests.recordings import tiny_whisper

pytestmark = pytest.mark.slow

OWN = "Your own recording or file"
DEFAULT = "default (for everybody)"


def names(visitor):
    return visitor.field("Choose a voice").locator("option").all_inner_texts()


def save(visitor, name, transcript=TRANSCRIPT):
    visitor.choose_file()
    visitor.field("Words of the recording").fill(transcript)
    visitor.field("The speaker has agreed").check()
    visitor.text("Keep this voice on the server").click()
    visitor.field("Name of the voice").fill(name)
    visitor.button("Save").click()


def delete(visitor, name):
    visitor.page.once("dialog", lambda dialog: dialog.accept())
    visitor.button("Delete this voice").click()
    expect(visitor.page.locator("#live p").last).to_have_text(f"The voice {name} is deleted.")


def test_one_hears_speech_without_recording_anything(visitor):
    visitor.enter_key()
    visitor.field("Choose a voice").select_option(DEFAULT)
    expect(visitor.button("Record")).to_be_hidden()
    expect(visitor.button("Delete this voice")).to_be_hidden()
    visitor.button("Listen").click()
    expect(visitor.page.locator("[data-part=chosen-audio]").first).to_be_visible()
    visitor.button("Generate speech").click()
    visitor.await_end()
    assert len(visitor.downloaded()) > 0


def test_a_voice_is_saved_used_and_deleted(visitor, visit):
    visitor.enter_key()
    save(visitor, "Ann")
    expect(visitor.page.locator("#live")).to_contain_text("The voice Ann is saved.")
    expect(visitor.page.locator("[data-part=done]").first).to_have_text("The voice Ann is saved.")
    expect(visitor.page.get_by_text(f"“{TRANSCRIPT}”")).to_be_visible()
    visitor.button("Generate speech").click()
    visitor.await_end()
    expect(visitor.page.locator(".result .hint").first).to_contain_text("Ann")

    same, stranger = visit(), visit()
    same.enter_key()
    stranger.enter_key(OTHER_KEY)
    for other in (same, stranger):
        expect(other.field("Choose a voice")).to_be_visible()
    assert names(same) == [OWN, "Ann", DEFAULT]
    assert names(stranger) == [OWN, DEFAULT]

    delete(visitor, "Ann")
    assert names(visitor) == [OWN, DEFAULT]
    expect(visitor.button("Record")).to_be_visible()


def test_a_name_that_is_taken_is_explained(visitor):
    visitor.enter_key()
    save(visitor, "Bob")
    expect(visitor.page.locator("#live")).to_contain_text("The voice Bob is saved.")
    visitor.field("Choose a voice").select_option(OWN)
    visitor.field("Name of the voice").fill("Bob")
    visitor.field("Name of the voice").press("Enter")
    expect(visitor.page.get_by_role("alert").filter(has_text="name")).to_be_visible()
    assert visitor.page.locator(".result").count() == 0, "Enter in this field does not speak"
    visitor.field("Choose a voice").select_option("Bob")
    delete(visitor, "Bob")


def test_no_voice_is_saved_without_consent_or_name(visitor):
    visitor.enter_key()
    visitor.choose_file()
    visitor.text("Keep this voice on the server").click()
    visitor.button("Save").click()
    visitor.expect_error("Tick this box.")
    visitor.field("The speaker has agreed").check()
    visitor.button("Save").click()
    visitor.expect_error("Give the voice a name.")


def test_a_server_that_stores_none_offers_none(visit, tmp_path):
    with real_server(tmp_path) as server:
        visitor = visit(port=server.port)
        visitor.enter_key()
        visitor.choose_file()
        expect(visitor.text("Keep this voice on the server")).to_be_hidden()
        assert names(visitor) == [OWN, DEFAULT]


@pytest.mark.skipif(tiny_whisper() is None, reason="needs requirements-quality.txt")
def test_words_that_are_recognised_for_a_request_can_be_corrected_for_the_next(visit, tmp_path):
    with real_server(tmp_path, transcriber=tiny_whisper(), max_audio_seconds=2) as server:
        visitor = visit(port=server.port)
        visitor.enter_key()
        visitor.choose_file()
        visitor.field("The speaker has agreed").check()
        visitor.button("Generate speech").click()
        visitor.await_end()
        expect(visitor.page.locator(".result")).to_contain_text("you can correct them in the form")
        assert "how much there might be" in visitor.field("Words of the recording").input_value()
        visitor.speak()
        visitor.await_end()
        expect(visitor.page.locator(".result").first).not_to_contain_text("recognised")


@pytest.mark.skipif(tiny_whisper() is None, reason="needs requirements-quality.txt")
def test_the_server_tells_the_words_before_anything_is_said_in_the_voice(visit, tmp_path):
    with real_server(tmp_path, transcriber=tiny_whisper(), max_audio_seconds=2) as server:
        visitor = visit(port=server.port)
        visitor.choose_file()
        visitor.field("The speaker has agreed").check()
        assert visitor.field("Words of the recording").input_value() == "", "the server has not accepted a key yet"
        visitor.enter_key()
        expect(visitor.field("Words of the recording")).to_have_value(re.compile("how much there might be"))
        advice = visitor.page.locator("[data-part=advice]").first
        expect(advice).to_have_text("The server finds no fault in this recording.")
        visitor.button("Generate speech").click()
        visitor.await_end()
        expect(visitor.page.locator(".result").first).not_to_contain_text("recognised")


@pytest.mark.skipif(tiny_whisper() is None, reason="needs requirements-quality.txt")
def test_recognised_words_are_shown_and_can_be_corrected(visit, tmp_path):
    with real_server(tmp_path, transcriber=tiny_whisper(), voices_dir=tmp_path / "voices") as server:
        visitor = visit(port=server.port)
        visitor.enter_key()
        save(visitor, "Ann", transcript="")
        expect(visitor.page.locator("#live")).to_contain_text("The voice Ann is saved.")
        visitor.field("Choose a voice").select_option(OWN)
        assert "how much there might be" in visitor.field("Words of the recording").input_value()
