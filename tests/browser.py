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

EARS = """
window.heard = []; // one Float32Array of 128 samples each
window.firstFrame = undefined; // of `heard`, counted from the start of its audio context
window.closings = []; // frames that had left the device when a context was closed

const tap = `registerProcessor("tap", class extends AudioWorkletProcessor {
    process([[samples]]) {
        if (samples) this.port.postMessage({ frame: currentFrame, samples: samples.slice() });
        return true;
    }
});`;

if (window.AudioWorklet) {
    const { addModule } = AudioWorklet.prototype;
    AudioWorklet.prototype.addModule = async function (address) {
        await addModule.call(this, URL.createObjectURL(new Blob([tap], { type: "text/javascript" })));
        return addModule.call(this, address);
    };
    const { connect } = AudioNode.prototype;
    AudioNode.prototype.connect = function (target, ...rest) {
        if (target instanceof AudioDestinationNode) {
            const node = new AudioWorkletNode(this.context, "tap", { numberOfOutputs: 0 });
            node.port.onmessage = ({ data }) => {
                window.firstFrame ??= data.frame;
                window.heard.push(data.samples);
            };
            connect.call(this, node);
        }
        return connect.call(this, target, ...rest);
    };
    const { close } = AudioContext.prototype;
    AudioContext.prototype.close = function () {
        window.closings.push(this.getOutputTimestamp().contextTime * this.sampleRate);
        return close.call(this);
    };
}
"""
READ_HEARD = """async () => {
    const reader = new FileReader();
    const read = new Promise((resolve) => { reader.onload = resolve; });
    reader.readAsDataURL(new Blob(window.heard));
    await read;
    return reader.result.split(",")[1] ?? "";
}"""

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
    """Keep what the page will play through the Web Audio API; call this before it is opened.

    A page with a Content-Security-Policy needs a context with `bypass_csp`.
    """
    page.add_init_script(EARS)


def heard(page: Page) -> Samples:
    """Return what the page has played, silence included."""
    encoded: str = page.evaluate(READ_HEARD)
    return (np.frombuffer(base64.b64decode(encoded), np.float32) * 32768).astype(np.int16)
