"""The known values of a model, with which an installation is compared."""

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
        repository: from which they were taken.
        revision: commit of the repository.
        models: all repositories with these weights.
        files: git id (see `git_id`) of each required file by name, or None if only its presence is required.
        prompt: `role`, `text` and the token `ids` of that turn.
        speech: `role`, `text` and the `frames` that the model generates greedily, `[frames, codebooks]`.
        encoder: name of a recording in the repository (`audio`), its number of `frames` and the first codes of its
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
        """Read the values of a model, by default those of CSM-1B."""
        return cls(**json.loads(path.read_text()))

    @classmethod
    def from_settings(cls, settings: Settings, folder: Path) -> "Golden | None":
        """Return the values of CSM-1B if the checkpoint is CSM-1B by its name or its files, else None."""
        golden = cls.load()
        return golden if settings.model in golden.models or golden.has_files_of(settings, folder) else None

    def has_files_of(self, settings: Settings, folder: Path) -> bool:
        """Return whether a checkpoint has the files of `repository`, by its name or the git id of its configuration."""
        config = folder / "config.json"
        return settings.model == self.repository or git_id(config.read_bytes()) == self.files.get("config.json")


def git_id(content: bytes) -> str:
    """Return git's id of a file."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def pointer_id(sha256: str, size: int) -> str:
    """Return git's id of the pointer that replaces a large file (Git LFS)."""
    return git_id(f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode())
