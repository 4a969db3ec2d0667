import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from examples import demo
from tests.docs import documents


@dataclass(frozen=True)
class Running:
    """The server that the README's snippets talk to."""

    address: str
    key: str


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The real server with the settings of the README's own command, a folder for voices, and a higher quota."""
    words = documents.block("bash", "serve").split()
    assert words[-2:] == ["make", "serve"]
    environment = dict(word.split("=", 1) for word in words[:-2])
    environment |= {"CSM_RATE_LIMIT": "1000 per minute", "CSM_VOICES_DIR": str(tmp_path_factory.mktemp("voices"))}
    with demo.running_server(environment) as server:
        demo.wait_until_healthy(server)
        yield Running(f"http://127.0.0.1:{server.port}", environment["CSM_API_KEYS"])


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder that looks like a clone to a snippet, and that it may litter."""
    shutil.copytree(documents.ROOT / "examples", tmp_path / "clone" / "examples")
    return tmp_path / "clone"
