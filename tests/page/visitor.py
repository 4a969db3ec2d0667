"""A visitor of the page at `/`: a tab of a real Chromium, with a recording as the microphone."""

import io
from pathlib import Path
from typing import Any

import axe_playwright_python
import soundfile
from playwright.sync_api import ConsoleMessage, Page, expect

from tests.browser import Samples, give_ears, heard
from tests.paths import ROOT
from tests.polling import wait_until
from tests.reference_audio import VOICE

AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text()
TRANSCRIPT = (ROOT / "examples" / "voice.txt").read_text().strip()
KEY = "secret"
LONG = "One, two, three, four, five, six, seven. " * 100
TIMEOUT_MS = 120_000
expect.set_options(timeout=TIMEOUT_MS)

WATCH_POLICY = """
window.violations = [];
addEventListener("securitypolicyviolation", ({ violatedDirective, blockedURI }) =>
    window.violations.push(`${violatedDirective} ${blockedURI}`));
"""


class Visitor:
    """Does what a visitor does, and hears what a visitor hears.

    Attributes:
        page: Playwright's page.
        complaints: uncaught errors, and messages of errors in the console.
    """

    def __init__(self, page: Page, address: str, ears: bool = False) -> None:
        self.page, self.address = page, address
        self.complaints: list[str] = []
        self._origins: set[str] = set()
        page.set_default_timeout(TIMEOUT_MS)
        if ears:
            give_ears(page)
        page.add_init_script(WATCH_POLICY)
        page.on("request", lambda request: self._origins.add("/".join(request.url.split("/")[:3])))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", self._note)
        page.goto(address)
        expect(page.get_by_role("group", name="Voice", exact=True)).to_be_visible()

    def _note(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.complaints.append(message.text)

    def button(self, name: str) -> Any:
        """Return the button with exactly this name."""
        return self.page.get_by_role("button", name=name, exact=True)

    def field(self, label: str) -> Any:
        """Return the visible field whose label has this text."""
        return self.page.get_by_label(label).filter(visible=True)

    def text(self, text: str) -> Any:
        """Return the visible element with this text."""
        return self.page.get_by_text(text).filter(visible=True)

    def enter_key(self, key: str = KEY) -> None:
        """Type the API key."""
        self.field("API key").fill(key)
        self.button("Use this key").click()

    def choose_file(self, file: Path | dict[str, Any] = VOICE, within: str = "Voice") -> None:
        """Choose a file as the voice, or as one of two voices; wait until the page has read it."""
        name = file.name if isinstance(file, Path) else file["name"]
        ready = self.page.locator("#live p", has_text=f"{name} is ready.")
        before = ready.count()
        picker = self.page.get_by_role("group", name=within, exact=True)
        with self.page.expect_file_chooser() as chooser:
            picker.get_by_role("button", name="Choose a file", exact=True).click()
        chooser.value.set_files(file)  # type: ignore[arg-type]
        expect(ready).to_have_count(before + 1)

    def record(self, seconds: int = 6) -> None:
        """Record the microphone for at least so long."""
        self.button("Record").click()
        self.await_recorded(seconds)
        self.button("Stop").click()
        expect(self.page.get_by_text("Recording 1", exact=True)).to_be_visible()

    def await_recorded(self, seconds: int) -> None:
        """Wait until the recording has lasted so long."""
        clock = self.page.locator("[data-part=time]").first
        wait_until(lambda: int(clock.inner_text().split(":")[1]) >= seconds, TIMEOUT_MS / 1000)

    def speak(self, text: str = "Hello from the page.") -> None:
        """Fill in the other fields and send the form."""
        self.field("Words of the recording").fill(TRANSCRIPT)
        self.field("Text to say").fill(text)
        self.field("The speaker has agreed").check()
        self.button("Generate speech").click()

    def clone(self, text: str = "Hello from the page.") -> None:
        """Do everything that leads to a result."""
        self.enter_key()
        self.choose_file()
        self.speak(text)

    def await_audio(self) -> None:
        """Wait for the first audio."""
        expect(self.page.get_by_text("First audio after")).to_be_visible()

    def await_sound(self) -> None:
        """Wait until something audible was played."""
        wait_until(lambda: heard(self.page).any(), TIMEOUT_MS / 1000)

    def await_end(self) -> None:
        """Wait until the whole of the latest result has arrived and was played."""
        latest = self.page.locator(".result").first
        expect(latest.get_by_role("button", name="Download", exact=True)).to_be_visible()
        expect(self.button("Pause")).to_have_count(0)

    def downloaded(self) -> Samples:
        """Download the latest result and return its samples."""
        with self.page.expect_download() as download:
            self.button("Download").first.click()
        samples, rate = soundfile.read(io.BytesIO(Path(download.value.path()).read_bytes()), dtype="int16")
        assert (rate, download.value.suggested_filename) == (24_000, "voice-clone.wav")
        return samples

    def expect_error(self, text: str) -> None:
        """Wait until the page shows an error."""
        expect(self.page.get_by_text(text).first).to_be_visible()

    def faults(self) -> list[str]:
        """Return what axe finds: each rule that is broken, and where."""
        self.page.evaluate(AXE)
        found = self.page.evaluate("axe.run()")["violations"]
        return [f"{rule['id']}: {node['target']} {node['failureSummary']}" for rule in found for node in rule["nodes"]]

    def assert_in_order(self) -> None:
        """Assert that nothing left the origin, the policy was kept, and nothing else went wrong unnoticed."""
        assert {origin for origin in self._origins if not origin.startswith("blob:")} == {self.address.rstrip("/")}
        assert self.page.evaluate("window.violations") == []
        # Chromium writes every answer of 400 and above to the console; the page shows these.
        assert [text for text in self.complaints if "Failed to load resource" not in text] == []
