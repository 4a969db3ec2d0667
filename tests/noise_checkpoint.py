"""The demo model with a random language model, for tests of servers that need an answer of known length.

Each frame is noise, from the first on, and every answer lasts until its limit. A model that speaks begins with silence
and ends by itself, at a time that tests cannot know.
"""

import atexit
import functools
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from recipes.demo_model.export import FACTS, SHIPPED, amplify, export, facts_of, load_codec
from recipes.demo_model.initialise import initialise
from tests.paths import ROOT

BUILD = ROOT / "build"
GAIN = json.loads((SHIPPED / FACTS).read_text())["gain"]
"""With it, the noise is as loud as the demo model."""


def noise() -> dict[str, Any]:
    """Return the settings of a server with this model; it runs in float32, as the demo model does by default."""
    return {"model": _checkpoint(), "precision": "float32"}


@functools.cache
def _checkpoint() -> Path:
    """Make it once in a process, and remove it at the end.

    It is not in the folder for temporary files, which is full or missing in some tests.
    """
    BUILD.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="noise-", dir=BUILD))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    model = initialise(load_codec(SHIPPED))
    amplify(model.codec_model, GAIN)
    export(model, folder, facts_of(model, trained=False, scores={}, gain=GAIN))
    return folder
