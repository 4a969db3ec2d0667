"""What a folder of voices contains."""

import os
from pathlib import Path

from csm.speech.voices.disk import LOCK


def stored_files(folder: Path) -> list[str]:
    """Return the names in a folder in order, without that of the lock."""
    return sorted(name for name in os.listdir(folder) if name != LOCK)
