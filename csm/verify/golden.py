"""Known values of a model, to compare an installation with."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from csm.settings import Settings

CSM_1B = Path(__file__).parents[1] / "assets" / "golden.json"


@dataclass(frozen=True)
class Golden:
    """Values that any installation of one model must reproduce.

    Attributes:
        name: of the model.
        source: where the values come from.
        repository: that they were taken from.
        revision: its commit.
        models: all repositories with these weights.
        files: by name the git id of each needed file, or None where only its presence is known; see `git_id`.
        prompt: `role`, `text` and the token `ids` of that turn.
        speech: `role`, `text` and the `frames` that the model says greedily, `[frames, codebooks]`.
        encoder: of a recording of the repository (`audio`), the number of `frames` and the first codes of its
            `codebooks`.
    """

    name: str
    source: str
    repository: str
    revision: str
    models: tuple[str, ...]
    files: dict[str, str | None]
    prompt: dict[str, Any]
    speech: dict[str, Any]
    encoder: dict[str, Any]

    @classmethod
    def load(cls, path: Path = CSM_1B) -> "Golden":
        """Read the values of a model; those of CSM-1B by default."""
        return cls(**json.loads(path.read_text()))

    @classmethod
    def of(cls, settings: Settings, folder: Path) -> "Golden | None":
        """Return the values of CSM-1B where a checkpoint is CSM-1B, by the names that it is published under."""
        golden = cls.load()
        return golden if settings.model in golden.models or golden.has_files_of(settings, folder) else None

    def has_files_of(self, settings: Settings, folder: Path) -> bool:
        """Return whether a checkpoint is a copy of the very repository, by its name or its configuration's id."""
        config = folder / "config.json"
        return settings.model == self.repository or git_id(config.read_bytes()) == self.files.get("config.json")


def git_id(content: bytes) -> str:
    """Return the id that git gives to a file."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def pointer_id(sha256: str, size: int) -> str:
    """Return the id that git gives to the pointer that stands for a large file (Git LFS)."""
    return git_id(f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode())
