"""Print the OpenAPI document of a server with keys and otherwise default settings: `python -m docs.openapi`."""

import json
import sys
from typing import Any, cast

from csm.settings import Settings
from csm.speech import Synthesizer
from csm.web import create_app


def document() -> dict[str, Any]:
    """Return the document."""
    # The document does not depend on the model, so there is no synthesizer.
    app = create_app(Settings(api_keys="key"), cast(Synthesizer, None))
    described: dict[str, Any] = app.test_client().get("/openapi.json").get_json()
    return described


if __name__ == "__main__":
    json.dump(document(), sys.stdout, indent=2)
