"""A conversation of two: a script, spoken in two voices."""

import numpy as np
import pytest
from playwright.sync_api import expect

from tests.page.test_code import run
from tests.page.visitor import TRANSCRIPT
from tests.reference_audio import VOICE, synthetic_speech

pytestmark = pytest.mark.slow

SCRIPT = "A: Good morning.\nIs anybody there?\n\nb: Good morning to you."


@pytest.fixture
def director(visitor):
    """A visitor who has chosen a recording for A, and a stored voice for B."""
    visitor.enter_key()
    visitor.field("A conversation of two").check()
    visitor.choose_file(within="Voice A")
    first, second = (visitor.page.get_by_role("group", name=f"Voice {name}", exact=True) for name in "AB")
    first.get_by_label("Words of the recording").fill(TRANSCRIPT)
    first.get_by_label("The speaker has agreed").check()
    second.get_by_label("Choose a voice").select_option("default (for everybody)")
    visitor.field("Script").fill(SCRIPT)
    return visitor


def test_a_script_is_spoken_in_two_voices(director):
    director.button("Generate speech").click()
    director.await_end()
    expect(director.page.locator(".result h3")).to_have_text(
        "A: Good morning. Is anybody there? B: Good morning to you."
    )
    expect(director.page.locator(".result .hint").first).to_contain_text("A: voice.webm · B: default")
    assert np.abs(director.downloaded()).max() > 500


@pytest.mark.parametrize("language", ["curl", "Python", "JavaScript"])
def test_the_code_sends_the_same_script(director, tmp_path, server, language):
    """Two recordings of the same name included."""
    second = director.page.get_by_role("group", name="Voice B", exact=True)
    second.get_by_label("Choose a voice").select_option("Your own recording or file")
    recording = {"name": "voice.webm", "mimeType": "audio/wav", "buffer": synthetic_speech(3)}
    director.choose_file(recording, within="Voice B")
    second.get_by_label("The speaker has agreed").check()
    director.button("Generate speech").click()
    director.await_end()
    samples = director.downloaded()
    (tmp_path / "voice.webm").write_bytes(VOICE.read_bytes())
    (tmp_path / "b-voice.webm").write_bytes(synthetic_speech(3))
    server.await_idle()
    assert np.array_equal(run(director, language, tmp_path), samples)


@pytest.mark.parametrize(
    ("script", "sentence"),
    [("Good morning.", "Begin the first line with A: or B:."), ("A: \nB:", "Write what they say.")],
)
def test_a_script_that_cannot_be_spoken_is_explained(director, script, sentence):
    director.field("Script").fill(script)
    director.button("Generate speech").click()
    director.expect_error(sentence)
    expect(director.field("Script")).to_be_focused()


def test_only_the_voices_of_those_who_speak_are_needed(visitor):
    visitor.enter_key()
    visitor.field("A conversation of two").check()
    second = visitor.page.get_by_role("group", name="Voice B", exact=True)
    second.get_by_label("Choose a voice").select_option("default (for everybody)")
    visitor.field("Script").fill("B: Alone.")
    visitor.button("Generate speech").click()
    visitor.await_end()
    visitor.field("Script").fill("A: With you.")
    visitor.button("Generate speech").click()
    visitor.expect_error("Record a voice first, or choose a file.")
