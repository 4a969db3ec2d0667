"""Just enough of Docker's file formats to check ours without an engine."""

import json
import re
import shlex
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Dockerfile:
    """A parsed Dockerfile."""

    text: str

    @classmethod
    def ours(cls) -> "Dockerfile":
        """Read the Dockerfile of the project."""
        return cls((ROOT / "Dockerfile").read_text())

    @cached_property
    def steps(self) -> list[tuple[str, str]]:
        """Instructions and their arguments, with continued lines joined."""
        lines = (line for line in self.text.splitlines() if not line.lstrip().startswith("#"))
        joined = re.sub(r"\\\n", " ", "\n".join(lines))
        return [tuple(line.split(maxsplit=1)) for line in joined.splitlines() if line.strip()]  # type: ignore[misc]

    def all(self, instruction: str) -> list[str]:
        """Return the arguments of every such instruction."""
        return [arguments for name, arguments in self.steps if name == instruction]

    def last(self, instruction: str) -> str:
        """Return the arguments of the last such instruction."""
        return self.all(instruction)[-1]

    @property
    def environment(self) -> dict[str, str]:
        """Variables that ENV sets."""
        words = (word for arguments in self.all("ENV") for word in shlex.split(arguments))
        return dict(word.split("=", 1) for word in words)

    @property
    def command(self) -> list[str]:
        """In exec form; anything else fails to parse."""
        return json.loads(self.last("CMD"))

    @property
    def copies(self) -> list[tuple[str, str]]:
        """(source, target) of every COPY."""
        pairs = []
        for arguments in self.all("COPY"):
            *sources, target = shlex.split(arguments)
            pairs += [(source, target) for source in sources]
        return pairs


def enters_the_build(path: str) -> bool:
    """Whether .dockerignore lets a path through: the last pattern that matches it, or a folder above it, decides."""
    ignored = False
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.strip()
        if pattern and not pattern.startswith("#"):
            exception = pattern.startswith("!")
            if _matches(pattern.removeprefix("!"), path):
                ignored = not exception
    return not ignored


def _matches(pattern: str, path: str) -> bool:
    regex = re.escape(pattern).replace(r"\*\*/", "(.*/)?").replace(r"\*", "[^/]*")
    return re.fullmatch(f"{regex}(/.*)?", path) is not None
