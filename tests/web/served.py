"""Run as a program: the real gunicorn set-up of the server around a fake synthesizer.

Arguments: the file for the fake's journal, its capacity, then the server settings as JSON.
"""

import json
import sys
from pathlib import Path

from csm import log, web
from csm.server import serve
from csm.settings import load
from tests.web.fakes import Fake


def main() -> None:
    journal, capacity, given = sys.argv[1:]
    settings = load(env_file=None, **json.loads(given))
    log.configure(settings.log_level)
    serve(settings, lambda: web.create_app(settings, Fake(int(capacity), Path(journal))))


if __name__ == "__main__":
    main()
