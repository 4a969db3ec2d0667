"""GET /health, /health/live, /health/ready: need no key, have no quota and never wait for the model."""

from typing import Any, Literal, NotRequired

from flask import Blueprint
from typing_extensions import TypedDict

import csm
from csm.speech import State, Synthesizer
from csm.web.openapi import JSON, Answer, Operation, describe

NAME = "health"


class Health(TypedDict):
    """The state of the server; further members describe the engine."""

    status: State
    model: str
    device: str | None
    running: int
    waiting: int
    version: str
    reason: NotRequired[str]


class Ready(TypedDict):
    """Whether requests for speech are served."""

    status: State


class Alive(TypedDict):
    """That the process is alive."""

    status: Literal["alive"]


def _answers(shape: type) -> dict[int, Answer]:
    return {200: Answer("Requests are served.", {JSON: shape}), 503: Answer("Requests are refused.", {JSON: shape})}


def blueprint(synthesizer: Synthesizer) -> Blueprint:
    """Return the blueprint of the routes."""
    routes = Blueprint(NAME, __name__, url_prefix="/health")

    @routes.get("")
    @describe(Operation("Report the state of the server", _answers(Health)))
    def health() -> tuple[dict[str, Any], int]:
        status = synthesizer.status()
        document: Health = {
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
    @describe(Operation("Say whether requests for speech are served", _answers(Ready)))
    def ready() -> tuple[Ready, int]:
        state = synthesizer.status().state
        return {"status": state}, 200 if state == "healthy" else 503

    @routes.get("/live")
    @describe(Operation("Say that the process is alive", {200: Answer("It is.", {JSON: Alive})}))
    def live() -> Alive:
        return {"status": "alive"}

    return routes
