import io
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray
from playwright.sync_api import Browser

from tests.page.visitor import KEY, Visitor
from tests.real_server import RealServer, real_server

OTHER_KEY = "other"
"""A key whose quota a test uses up."""
QUOTA = 200


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    """The server with one slot and no queue."""
    with real_server(
        tmp_path_factory.mktemp("server"),
        slots=1,
        queue=0,
        api_keys=f"{KEY},{OTHER_KEY}",
        rate_limit=f"{QUOTA} per day",
        character_limit="none",
        voices_dir=tmp_path_factory.mktemp("voices"),
        max_audio_seconds=2,  # the demo model speaks nonsense at great length
    ) as server:
        yield server


@pytest.fixture
def visit(browser: Browser, server: RealServer) -> Iterator[Callable[..., Visitor]]:
    """Open the page in a tab of its own; afterwards, check that it kept its promises."""
    visitors: list[Visitor] = []

    def open_page(host: str = "localhost", port: int = server.port, ears: bool = False, **options: Any) -> Visitor:
        options = {"permissions": ["microphone", "clipboard-read", "clipboard-write"], **options}
        # Ears are a worklet that the page's policy forbids; so visitors with ears do not see whether it is kept.
        context = browser.new_context(bypass_csp=ears, **options)
        visitors.append(Visitor(context.new_page(), f"http://{host}:{port}/", ears))
        return visitors[-1]

    server.await_idle()
    yield open_page
    for visitor in visitors:
        visitor.assert_in_order()
        visitor.page.context.close()


@pytest.fixture
def visitor(visit: Callable[..., Visitor]) -> Visitor:
    """Return a visitor who has just opened the page."""
    return visit()


def wav(samples: NDArray[np.float64]) -> bytes:
    """Return a WAV file of samples at 24 kHz."""
    file = io.BytesIO()
    soundfile.write(file, samples, 24_000, format="WAV")
    return file.getvalue()


@pytest.fixture(scope="session")
def silence() -> Callable[[float], bytes]:
    """Return a WAV of silence by its seconds."""
    return lambda seconds: wav(np.zeros(int(24_000 * seconds)))


@pytest.fixture(scope="session")
def shout() -> bytes:
    """Return a WAV of three seconds whose peaks are cut off."""
    return wav(np.clip(3 * np.sin(np.arange(72_000) / 20), -0.9, 0.9))
