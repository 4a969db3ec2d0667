"""A voice-cloning server for Sesame CSM-1B, and its Python API: `CSM`, `StoredVoice` and `load`."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from csm.api import CSM, StoredVoice, load

__version__ = "0.2.0"
__all__ = ["CSM", "StoredVoice", "__version__", "load"]


def __getattr__(name: str) -> Any:
    """Import the Python API on first use, because it imports torch, which takes seconds."""
    if name not in ("CSM", "StoredVoice", "load"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module("csm.api"), name)
