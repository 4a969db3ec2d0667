"""GET /v1/models, /v1/models/{id}: the names that OpenAI's clients may send as `model`; all mean the one served."""

import time
from typing import Literal

from flask import Blueprint
from typing_extensions import TypedDict

from csm.speech import Synthesizer
from csm.web.openapi import JSON, Answer, Operation, describe
from csm.web.problems import ModelNotFound

NAME = "models"

ALIASES = ("tts-1", "tts-1-hd", "gpt-4o-mini-tts")
"""OpenAI's names of its models, for clients in which the model cannot be chosen freely."""


class Model(TypedDict):
    """A name of the model."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class ModelList(TypedDict):
    """All names of the model."""

    object: Literal["list"]
    data: list[Model]


def blueprint(synthesizer: Synthesizer) -> Blueprint:
    """Return the blueprint of the routes."""
    routes = Blueprint(NAME, __name__, url_prefix="/v1/models")
    started = int(time.time())

    def model(name: str) -> Model:
        return {"id": name, "object": "model", "created": started, "owned_by": "sesame"}

    @routes.get("")
    @describe(Operation("List the models", {200: Answer("The names of the model.", {JSON: ModelList})}))
    def list_models() -> ModelList:
        return {"object": "list", "data": [model(name) for name in (synthesizer.status().model, *ALIASES)]}

    @routes.get("/<path:name>")
    @describe(Operation("Look up a model", {200: Answer("It is served.", {JSON: Model})}))
    def get_model(name: str) -> Model:
        check(synthesizer, name)
        return model(name)

    return routes


def check(synthesizer: Synthesizer, name: str) -> None:
    """Check that a name stands for the model that is served.

    Raises:
        ModelNotFound: it does not.
    """
    known = (synthesizer.status().model, *ALIASES)
    if name not in known:
        raise ModelNotFound("model", f"There is no such model here; known are {', '.join(known)}.")
