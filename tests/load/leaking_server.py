"""Run as a program: the real server with a leak in every request, to show that the soak test finds one."""

import itertools
import os
import threading
from typing import Any

from flask import Flask

from csm import log
from csm.server import application, serve
from csm.settings import load
from csm.speech import Speech

LEAK_BYTES = 250_000
"""About the size of reference audio; less would first fill free memory that loading the model left in the heap."""


def leak() -> None:
    """Let each request leak memory, and every second one a descriptor and a thread."""
    from csm.speech.synthesizer import CsmSynthesizer

    tight, kept, calls = CsmSynthesizer.speak, list[Any](), itertools.count(1)

    def speak(self: CsmSynthesizer, *given: Any) -> Speech:
        kept.append(os.urandom(LEAK_BYTES))
        if next(calls) % 2 == 0:
            kept.append(os.dup(0))
            threading.Thread(target=threading.Event().wait, daemon=True).start()
        return tight(self, *given)

    CsmSynthesizer.speak = speak  # type: ignore[method-assign, assignment]


def main() -> None:
    """Serve with the settings of the environment."""
    settings = load(env_file=None)
    log.configure(settings.log_level)

    def create() -> Flask:
        leak()
        return application(settings)

    serve(settings, create)


if __name__ == "__main__":
    main()
