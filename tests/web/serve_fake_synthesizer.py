"""Run as a program: serve a fake synthesizer with the real gunicorn configuration.

Arguments: the file for the fake's journal, its capacity, then the server settings as JSON.
"""

import json
import sys
from pathlib import Path

from flask import Flask

from csm import log, web
from csm.server import serve
from csm.settings import load
from tests.web.fake_synthesizer import FakeSynthesizer
from tests.web.fake_voices import FakeVoices


def main() -> None:
    """Serve until the process is told to end."""
    journal, capacity, given = sys.argv[1:]
    settings = load(env_file=None, **json.loads(given))
    log.configure(settings.log_level, settings.log_format)

    def create() -> Flask:
        app = web.create_app(settings, FakeSynthesizer(int(capacity), Path(journal), voices=FakeVoices(settings)))
        web.serve_metrics(app, settings)
        return app

    serve(settings, create)


if __name__ == "__main__":
    main()
