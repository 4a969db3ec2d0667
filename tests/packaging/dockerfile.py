"""Just enough of Docker's file formats to check ours without an engine."""

import json
import re
import shlex
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from string import Template

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Dockerfile:
    """A parsed Dockerfile, as the build of one target sees it.

    Attributes:
        text: of the file.
        target: the stage to build; empty for the last one.
    """

    text: str
    target: str = ""

    @classmethod
    def ours(cls, target: str = "") -> "Dockerfile":
        """Read the Dockerfile of the project."""
        return cls((ROOT / "Dockerfile").read_text(), target)

    @cached_property
    def instructions(self) -> list[tuple[str, str]]:
        """All instructions and their arguments, with continued lines joined."""
        lines = (line for line in self.text.splitlines() if not line.lstrip().startswith("#"))
        joined = re.sub(r"\\\n", " ", "\n".join(lines))
        return [tuple(line.split(maxsplit=1)) for line in joined.splitlines() if line.strip()]  # type: ignore[misc]

    @cached_property
    def steps(self) -> list[tuple[str, str]]:
        """The instructions of the target and of the stages that it builds on, without those before the first stage."""
        defaults = dict(argument.split("=", 1) for name, argument in self.instructions if name == "ARG")
        stages: dict[str, list[tuple[str, str]]] = {}
        stage = ""
        for name, arguments in self.instructions:
            if name == "FROM":
                words = Template(arguments).safe_substitute(defaults).split()
                stage = words[2] if len(words) == 3 else "the last"
                stages[stage] = [*stages.get(words[0], ())]
            if stage:
                stages[stage].append((name, arguments))
        return stages[self.target or stage]

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
        """(source, target) of every COPY from the build's context."""
        pairs = []
        for arguments in self.all("COPY"):
            if arguments.startswith("--from="):
                continue
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
