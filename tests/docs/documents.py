"""The README and the documents in docs/ as data: their labelled code blocks.

A block opens with its language and a name: ```bash curl.
"""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCES = ("README.md", "docs/api.md", "docs/settings.md", "docs/deployment.md")
FENCE = re.compile(r"^```(?P<language>\w+) ?(?P<name>\S*)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
ADDRESS = "http://127.0.0.1:5000"


def blocks() -> dict[tuple[str, str], str]:
    """Code by language and name."""
    text = "".join((ROOT / source).read_text() for source in SOURCES)
    found = [((block["language"], block["name"]), block["code"]) for block in FENCE.finditer(text)]
    assert len(found) == len(dict(found)), "two blocks have one name"
    return dict(found)


def block(language: str, name: str, address: str = ADDRESS) -> str:
    """One block, with the address of the test's server in place of the one that readers use."""
    return blocks()[language, name].replace(ADDRESS, address)
