"""A visitor of the Next.js example: its page in a real Chromium, with a recording as the microphone."""

from pathlib import Path
from typing import Any

from playwright.sync_api import Page, expect

from tests.browser import Samples, give_ears, heard, last_answer
from tests.paths import ROOT
from tests.polling import wait_until
from tests.reference_audio import VOICE

TRANSCRIPT = (ROOT / "examples" / "voice.txt").read_text()
LONG = "One, two, three, four, five, six, seven. " * 100
TIMEOUT_MS = 120_000


class Visitor:
    """Does what a visitor does, and hears what a visitor hears.

    Attributes:
        page: Playwright's page.
        hosts: of all addresses that the page asked for.
    """

    def __init__(self, page: Page, address: str) -> None:
        self.page = page
        self.hosts: set[str] = set()
        page.set_default_timeout(TIMEOUT_MS)
        give_ears(page)
        page.on("request", lambda request: self.hosts.add(request.url.split("/")[2]))
        page.goto(address)

    def choose_file(self, file: Path | dict[str, Any] = VOICE) -> None:
        """Choose a file as reference audio."""
        self.page.get_by_label("or choose a file").set_input_files(file)  # type: ignore[arg-type]

    def record(self, seconds: int) -> None:
        """Record the microphone."""
        self.page.get_by_role("button", name="Record").click()
        expect(self.page.get_by_text(f"Recording: {seconds} of 30 s")).to_be_visible(timeout=TIMEOUT_MS)
        self.page.get_by_role("button", name="Stop recording").click()
        expect(self.page.get_by_label("Your recording")).to_be_visible()

    def speak(self, text: str = "Hello from the web.") -> None:
        """Fill in the other fields and send the form."""
        self.page.get_by_label("What is said in the recording").fill(TRANSCRIPT)
        self.page.get_by_label("Text to speak").fill(text)
        self.page.get_by_label("The speaker has agreed").check()
        self.page.get_by_role("button", name="Generate speech").click()

    def expect_status(self, text: str) -> None:
        """Wait until the page announces a status."""
        expect(self.page.get_by_role("status")).to_have_text(text, timeout=TIMEOUT_MS)

    def expect_error(self, text: str) -> None:
        """Wait until the page shows an error."""
        expect(self.page.get_by_role("alert").filter(has_text=text)).to_be_visible(timeout=TIMEOUT_MS)

    def heard(self) -> Samples:
        """Return what was played so far, silence included."""
        return heard(self.page)

    def answer(self) -> bytes:
        """Return the body of the last answer, which must be complete."""
        return last_answer(self.page)

    def await_sound(self) -> None:
        """Wait until something audible was played."""
        wait_until(lambda: self.heard().any(), TIMEOUT_MS / 1000)

    def downloaded(self, folder: Path) -> Path:
        """Click on the download and return the file."""
        with self.page.expect_download() as download:
            self.page.get_by_role("link", name="Download").click()
        assert download.value.suggested_filename == "voice-clone.wav"
        download.value.save_as(folder / "voice-clone.wav")
        return folder / "voice-clone.wav"
