"""Generate `.env.example` and the table in `docs/settings.md`: `python -m docs.settings --write`."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

from csm.settings import PREFIX, Settings

ROOT = Path(__file__).parents[1]
ENV_EXAMPLE = ROOT / ".env.example"
DOCUMENT = ROOT / "docs" / "settings.md"
TABLE = re.compile(r"(?<=<!-- settings -->\n).*?(?=<!-- /settings -->)", re.DOTALL)

HEAD = """\
# Copy to .env and remove the # in front of what you change: each line shows the default.
# The environment wins over this file, and a misspelt CSM_ name stops the start.

# HF_TOKEN, for gated models, is not read from here: put it into the environment, or run `hf auth login`.
# sesame/csm-1b is gated; its copy, unsloth/csm-1b, needs no token.
"""


def rows() -> Iterator[tuple[str, str, str]]:
    """Yield variable, default and description of every setting, in the order of the class."""
    for name, field in Settings.model_fields.items():
        yield PREFIX + name.upper(), _spell(field.default), field.description or ""


def env_example() -> str:
    """Return the content of `.env.example`."""
    return HEAD + "".join(f"\n# {description}\n#{name}={default}\n" for name, default, description in rows())


def table() -> str:
    """Return the table of settings."""
    lines = (f"| `{name}` | {f'`{default}`' if default else ''} | {about} |\n" for name, default, about in rows())
    return "| variable | default | |\n|---|---|---|\n" + "".join(lines)


def document() -> str:
    """Return the document with an up-to-date table."""
    return TABLE.sub(lambda _: table(), DOCUMENT.read_text())


def _spell(default: object) -> str:
    """Return a default value as it is written in a dotenv file."""
    if default is None or default == ():
        return ""
    if isinstance(default, bool | float):
        return f"{default:g}"
    return str(default)


def main() -> int:
    """Write both files, or report which of them is out of date."""
    wanted = {ENV_EXAMPLE: env_example(), DOCUMENT: document()}
    if "--write" in sys.argv[1:]:
        for path, text in wanted.items():
            path.write_text(text)
        return 0
    stale = [path.name for path, text in wanted.items() if not path.exists() or path.read_text() != text]
    print(f"out of date: {', '.join(stale)}; run `make docs`" if stale else "up to date")
    return bool(stale)


if __name__ == "__main__":
    sys.exit(main())
