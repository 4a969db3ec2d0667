"""The server: `python sesame_server.py`, or `sesame_server:app` for any WSGI server.

Under another WSGI server run one process with threads, and fork before this module is imported (no preloading).
"""

import sys
from typing import TYPE_CHECKING

from csm.server import application, main

if TYPE_CHECKING:
    from flask import Flask


def __getattr__(name: str) -> "Flask":
    """Make `app` when somebody asks for it: to import this module must not load a model."""
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()["app"] = application()
    made: Flask = globals()["app"]
    return made


if __name__ == "__main__":
    sys.exit(main())
