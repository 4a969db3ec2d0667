from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext

from tests.examples import nextjs_app
from tests.examples.visitor import Visitor
from tests.real_server import RealServer, real_server

SECRET = "secret"


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    with real_server(tmp_path_factory.mktemp("server"), slots=1, queue=2) as server:
        yield server


@pytest.fixture(scope="session")
def built() -> None:
    nextjs_app.build()


@pytest.fixture(scope="session")
def app(built: None, server: RealServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of the app in front of the server."""
    folder = tmp_path_factory.mktemp("app")
    with nextjs_app.running(folder, f"http://127.0.0.1:{server.port}", SECRET) as address:
        yield address


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    context = browser.new_context(permissions=["microphone"])
    yield context
    context.close()


@pytest.fixture
def visitor(context: BrowserContext, app: str, server: RealServer) -> Visitor:
    server.await_idle()
    return Visitor(context.new_page(), app)
