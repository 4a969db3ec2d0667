"""`make screenshots`: pictures of each state of the page, on a phone and on a desktop, in light and dark."""

import argparse
import re
import tempfile
from collections.abc import Callable
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, expect

from tests.browser import chromium
from tests.page.visitor import LONG, Visitor
from tests.paths import ROOT
from tests.real_server import RealServer, real_server

SCREENS = {"phone": 390, "desktop": 1280}
DEFAULT = "default (for everybody)"

IN_README = {
    "phone-light-2-recording": "page-recording.png",
    "desktop-light-5-result": "page-result.png",
    "desktop-dark-4-speaking": "page-speaking.png",
}


def main() -> None:
    """Make all pictures; copy those of the README to docs/."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where to write them")
    folder: Path = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        with (
            real_server(place, slots=1, queue=0, max_audio_seconds=6, voices_dir=place) as server,
            chromium(place) as browser,
        ):
            for screen in SCREENS:
                for scheme in ("light", "dark"):
                    photograph(browser, server, screen, scheme, folder)
    for name, target in IN_README.items():
        # 256 colours are enough for a page without photographs, and a third of the size.
        picture = Image.open(folder / f"{name}.png").convert("RGB")
        reduced = picture.quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
        reduced.save(ROOT / "docs" / target, optimize=True)


def photograph(browser: Browser, server: RealServer, screen: str, scheme: str, folder: Path) -> None:
    """Walk through the page as a visitor, and make a picture of each state."""
    context = browser.new_context(
        viewport={"width": SCREENS[screen], "height": 800},
        color_scheme=scheme,  # type: ignore[arg-type]
        permissions=["microphone", "clipboard-read", "clipboard-write"],
    )
    visitor = Visitor(context.new_page(), f"http://localhost:{server.port}/")
    page = visitor.page
    take = camera(visitor, folder, f"{screen}-{scheme}")
    expect(page.locator("#status")).to_contain_text("Ready")
    take("1-start")
    visitor.enter_key("wrong")
    expect(page.get_by_text("The server refused this key")).to_be_visible()
    take("1-wrong-key")
    visitor.enter_key()
    visitor.button("Generate speech").click()
    take("1-no-voice")
    expect(visitor.field("Choose a voice")).to_be_visible()
    visitor.button("Record").click()
    visitor.await_recorded(4)
    take("2-recording")
    visitor.button("Stop").click()
    expect(page.get_by_text("Recording 1", exact=True)).to_be_visible()
    visitor.button("Generate speech").click()
    take("3-recorded-short-without-consent")
    visitor.choose_file()
    page.get_by_text("Advanced settings").click()
    take("3-file")
    page.get_by_text("Advanced settings").click()
    visitor.speak("Hello! This is my voice, and I have never said this sentence before.")
    expect(page.locator(".facts")).to_contain_text(re.compile(r"[2-5]\.\d\ss of speech"))
    take("4-speaking")
    visitor.await_end()
    take("5-result")
    page.get_by_text("Copy as code", exact=True).click()
    visitor.button("Copy as Python").click()
    take("6-code")
    visitor.speak(LONG)
    expect(page.locator(".result").first).to_contain_text("First audio after")
    visitor.button("Cancel").click()
    expect(page.get_by_text("Cancelled.").first).to_be_visible()
    take("7-cancelled-history")
    visitor.field("A conversation of two").check()
    visitor.page.get_by_role("group", name="Voice B").get_by_label("Choose a voice").select_option(DEFAULT)
    server.await_idle()
    visitor.button("Generate speech").click()
    visitor.await_end()
    take("8-conversation")
    visitor.field("One voice").check()
    name = "A name that is as long as names may be, which is sixty-four signs"[:64]
    visitor.text("Keep this voice on the server").click()
    visitor.field("Name of the voice").fill(name)
    take("9-keep-voice")
    visitor.button("Save").click()
    expect(visitor.button("Delete this voice")).to_be_visible()
    take("9-stored-voice")
    page.once("dialog", lambda dialog: dialog.accept())
    visitor.button("Delete this voice").click()
    expect(visitor.button("Delete this voice")).to_be_hidden()
    server.await_idle()
    context.close()


def camera(visitor: Visitor, folder: Path, prefix: str) -> Callable[[str], None]:
    """Return a function that makes a picture of the whole page."""

    def take(state: str) -> None:
        visitor.page.evaluate("scrollTo(0, 0)")  # the results stay in view, wherever the page is scrolled to
        visitor.page.screenshot(path=folder / f"{prefix}-{state}.png", full_page=True, animations="disabled")

    return take


if __name__ == "__main__":
    main()
