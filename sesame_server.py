"""Run the server with `python sesame_server.py`, or serve `sesame_server:app` with any WSGI server.

With another WSGI server, use one process with threads, and import this module after the fork (no preloading).
"""

import sys
from typing import TYPE_CHECKING

from csm.server import application, main

if TYPE_CHECKING:
    from flask import Flask


def __getattr__(name: str) -> "Flask":
    """Create `app` on first access, because importing this module must not load a model."""
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()["app"] = application()
    made: Flask = globals()["app"]
    return made


if __name__ == "__main__":
    sys.exit(main())
