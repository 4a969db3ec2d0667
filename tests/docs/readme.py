"""The README as data: its labelled code blocks. A block opens with its language and a name: ```bash curl."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "README.md").read_text()
FENCE = re.compile(r"^```(?P<language>\w+) ?(?P<name>\S*)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
ADDRESS = "http://127.0.0.1:5000"


def blocks(text: str = TEXT) -> dict[tuple[str, str], str]:
    """Code by language and name."""
    found = [((block["language"], block["name"]), block["code"]) for block in FENCE.finditer(text)]
    assert len(found) == len(dict(found)), "two blocks have one name"
    return dict(found)


def block(language: str, name: str, address: str = ADDRESS) -> str:
    """One block, with the address of the test's server in place of the one that readers use."""
    return blocks()[language, name].replace(ADDRESS, address)
