"""Run as a program: the real gunicorn set-up of the server around a fake synthesizer.

Arguments: the file for the fake's journal, the number of its places, then the server settings as JSON.
"""

import json
import sys
from pathlib import Path

from csm import log, web
from csm.server import gunicorn_options
from csm.settings import load
from csm.web.arbiter import Application
from tests.web.fakes import Fake


def main() -> None:
    journal, places, given = sys.argv[1:]
    settings = load(env_file=None, **json.loads(given))
    log.configure(settings.log_level)
    create = lambda: web.create_app(settings, Fake(int(places), Path(journal)))  # noqa: E731
    Application(create, gunicorn_options(settings)).run()


if __name__ == "__main__":
    main()
