"""GET /health, /health/live, /health/ready: need no key, have no quota and never wait for the model."""

from typing import Any

from flask import Blueprint

import csm
from csm.speech import Synthesizer

NAME = "health"


def blueprint(synthesizer: Synthesizer) -> Blueprint:
    """Return the blueprint of the routes."""
    routes = Blueprint(NAME, __name__, url_prefix="/health")

    @routes.get("")
    def report() -> tuple[dict[str, Any], int]:
        status = synthesizer.status()
        document = {
            "status": status.state,
            "model": status.model,
            "device": status.device,
            "running": status.running,
            "waiting": status.waiting,
            "version": csm.__version__,
        }
        if status.state != "healthy":
            document["reason"] = status.reason or status.state
        return {**status.details, **document}, 200 if status.state == "healthy" else 503

    @routes.get("/ready")
    def ready() -> tuple[dict[str, Any], int]:
        state = synthesizer.status().state
        return {"status": state}, 200 if state == "healthy" else 503

    @routes.get("/live")
    def live() -> dict[str, Any]:
        return {"status": "alive"}

    return routes
