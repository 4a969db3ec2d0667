"""A real Chromium, whose microphone plays a recording, and ears that hear what a page plays."""

import base64
import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import imageio_ffmpeg
import numpy as np
from numpy.typing import NDArray
from playwright.sync_api import Browser, Page, sync_playwright

from tests.reference_audio import VOICE

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    # Without these, every start looks for Google's hosts.
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-device-for-media-stream",
    "--host-resolver-rules=MAP plain.test 127.0.0.1",
)
INSECURE_HOST = "plain.test"
"""A name for loopback that browsers do not trust as they trust localhost."""

TAP = Path(__file__).with_name("audio_tap.js")

Samples = NDArray[np.int16]


@contextlib.contextmanager
def chromium(folder: Path, recording: Path = VOICE) -> Iterator[Browser]:
    """Run Chromium. Its microphone plays a recording again and again.

    Args:
        folder: for the recording in the format that Chromium reads.
        recording: in any format.
    """
    microphone = folder / "microphone.wav"
    subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", recording, microphone], check=True)
    arguments = [*FLAGS, f"--use-file-for-fake-audio-capture={microphone}"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=arguments)
        yield browser
        browser.close()


def give_ears(page: Page) -> None:
    """Keep what the page will play through the Web Audio API, and what it will fetch; call this before it is opened.

    A page with a Content-Security-Policy needs a context with `bypass_csp`.
    """
    page.add_init_script(path=TAP)


def heard(page: Page) -> Samples:
    """Return what the page has played, silence included."""
    return (np.frombuffer(_content(page, "window.heard"), np.float32) * 32768).astype(np.int16)


def last_answer(page: Page) -> bytes:
    """Return the body of the last answer to `fetch`, which must be complete."""
    return _content(page, "[await window.answers.at(-1)]")


def _content(page: Page, parts: str) -> bytes:
    """Return the bytes of an array of buffers in the page."""
    address: str = page.evaluate(
        f"""async () => {{
            const reader = new FileReader();
            reader.readAsDataURL(new Blob({parts}));
            await new Promise((read) => {{ reader.onload = read; }});
            return reader.result;
        }}"""
    )
    return base64.b64decode(address.partition(",")[2])
