"""GET /health, /health/live, /health/ready: no key, no quota, no waiting for the model."""

from typing import Any

from flask import Blueprint

import csm
from csm.speech import Status, Synthesizer

NAME = "health"


def blueprint(synthesizer: Synthesizer) -> Blueprint:
    """Return the routes, around a synthesizer."""
    routes = Blueprint(NAME, __name__, url_prefix="/health")

    @routes.get("")
    def report() -> tuple[dict[str, Any], int]:
        status = synthesizer.status()
        return _document(status), _code(status)

    @routes.get("/ready")
    def ready() -> tuple[dict[str, Any], int]:
        status = synthesizer.status()
        return {"status": status.state}, _code(status)

    @routes.get("/live")
    def live() -> dict[str, Any]:
        return {"status": "alive"}

    return routes


def _code(status: Status) -> int:
    return 200 if status.state == "healthy" else 503


def _document(status: Status) -> dict[str, Any]:
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
    return {**status.details, **document}
