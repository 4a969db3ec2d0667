"""The page /docs in a real browser: it shows every route and sends requests, under its Content-Security-Policy."""

import re

import pytest
from playwright.sync_api import expect

from tests.reference_audio import VOICE
from tests.web.requests import KEY

pytestmark = pytest.mark.slow


@pytest.fixture
def page(browser):
    """An open page of Chromium."""
    with browser.new_context() as context:
        yield context.new_page()


@pytest.fixture
def complaints(page):
    """What the browser complains about, such as a breach of the policy."""
    found = []
    page.on("console", lambda message: found.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: found.append(str(error)))
    return found


def test_the_page_shows_every_route_and_sends_requests(serve, page, complaints):
    server = serve()
    address = f"http://127.0.0.1:{server.port}"
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{address}/docs")
    expect(page.locator("#operations-clone-clone_voice")).to_be_visible()
    expect(page.locator("#operations-speech-create_speech")).to_be_visible()

    page.get_by_role("button", name="Authorize").first.click()
    page.locator("#auth-bearer-value").fill(KEY["X-API-Key"])
    page.get_by_role("button", name="Apply credentials").first.click()
    page.get_by_role("button", name="Close").first.click()

    operation = page.locator("#operations-clone-clone_voice")
    operation.click()
    fields = operation.locator("tr.parameters, .parameters tr")
    fields.filter(has_text="audio").locator("input[type=file]").first.set_input_files(VOICE)
    fields.filter(has_text="What to say").locator("input, textarea").first.fill("chunks=2")
    operation.get_by_role("button", name="Execute").click()
    expect(operation.get_by_role("link", name="Download file")).to_have_attribute("href", re.compile("^blob:"))
    assert not complaints
    assert all(url.startswith((address, "blob:", "data:")) for url in asked)
