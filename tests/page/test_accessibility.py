"""The page for everybody: axe finds nothing, the keyboard suffices, nothing moves sideways."""

import pytest
from playwright.sync_api import expect

from tests.page.visitor import TRANSCRIPT

pytestmark = pytest.mark.slow

LONG_WORD = "Donaudampfschifffahrtsgesellschaftskapitaen" * 8


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_axe_finds_nothing_in_any_state(visit, scheme, width):
    visitor = visit(color_scheme=scheme, viewport={"width": width, "height": 800})
    page = visitor.page

    def check(state):
        assert visitor.faults() == [], state
        assert page.evaluate("document.documentElement.scrollWidth") <= width, f"{state} is wider than the screen"

    expect(page.locator("#status")).to_contain_text("Ready")
    check("the start")
    visitor.button("Generate speech").click()
    check("an error")
    visitor.enter_key()
    visitor.field("Choose a voice").select_option("default (for everybody)")
    visitor.button("Listen").click()
    check("a stored voice")
    visitor.field("A conversation of two").check()
    check("a conversation")
    visitor.field("One voice").check()
    visitor.field("Choose a voice").select_option("Your own recording or file")
    visitor.button("Record").click()
    visitor.await_recorded(1)
    check("recording")
    visitor.button("Stop").click()
    expect(page.get_by_text("Recording 1", exact=True)).to_be_visible()
    page.get_by_text("Advanced settings").click()
    visitor.text("Keep this voice on the server").click()
    check("a recording")
    visitor.speak(f"Hello. {LONG_WORD}")
    check("waiting")
    visitor.await_end()
    page.get_by_text("Copy as code", exact=True).click()
    visitor.button("Copy as curl").click()
    check("a result")


def test_the_keyboard_suffices(visitor):
    page = visitor.page
    press = page.keyboard.press

    def tab_to(locator):
        for _ in range(40):
            press("Tab")
            if locator.evaluate("element => element === document.activeElement"):
                return
        raise AssertionError("not reached by Tab")

    expect(page.locator("#status")).to_contain_text("Ready")
    tab_to(visitor.field("API key"))
    page.keyboard.type("secret")
    press("Enter")
    page.evaluate("document.activeElement.blur()")
    tab_to(visitor.button("Record"))
    press("Enter")
    visitor.await_recorded(2)
    press("Enter")
    expect(page.get_by_text("Recording 1", exact=True)).to_be_visible()
    tab_to(visitor.field("Words of the recording"))
    press("Control+A")
    page.keyboard.type(TRANSCRIPT)
    tab_to(visitor.field("Text to say"))
    press("Control+A")
    page.keyboard.type("By hand.")
    tab_to(visitor.field("The speaker has agreed"))
    press("Space")
    tab_to(visitor.button("Generate speech"))
    press("Enter")
    visitor.await_end()
    tab_to(visitor.button("Download"))
    with page.expect_download():
        press("Enter")


def test_what_happens_is_said_to_a_screen_reader(visitor):
    live = visitor.page.locator("#live")
    visitor.enter_key()
    expect(live).to_contain_text("The server accepts this key.")
    visitor.choose_file()
    visitor.speak()
    visitor.await_end()
    expect(live).to_contain_text("First audio after")
    expect(live).to_contain_text("The server accepts this key.")  # what comes later does not replace it


def test_a_late_answer_does_not_move_the_focus(visitor):
    def go_on(request):
        visitor.field("Text to say").fill("I have gone on.")
        request.continue_()

    visitor.page.route("**/v1/audio/voices", go_on)
    visitor.enter_key()
    expect(visitor.page.locator("#live")).to_contain_text("The server accepts this key.")
    expect(visitor.field("Text to say")).to_be_focused()


def test_a_key_that_is_accepted_leads_to_the_voice(visitor):
    visitor.enter_key()
    expect(visitor.field("Choose a voice")).to_be_focused()


def test_nothing_moves_for_those_who_ask_for_it(visit):
    visitor = visit(reduced_motion="reduce")
    visitor.button("Record").click()
    visitor.await_recorded(1)
    assert visitor.page.evaluate("document.getAnimations().length") == 0
    visitor.button("Stop").click()
