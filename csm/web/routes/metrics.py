"""GET /metrics: for Prometheus, with the key `CSM_METRICS_KEY`; there is no such route without it."""

from flask import Blueprint, Response, request
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

NAME = "metrics"


def blueprint(registry: CollectorRegistry) -> Blueprint:
    """Return the blueprint of the route, which `csm.web.auth` protects."""
    routes = Blueprint(NAME, __name__)

    @routes.get("/metrics")
    def metrics() -> Response:
        encode, media_type = choose_encoder(request.headers.get("Accept", ""))
        return Response(encode(registry), content_type=media_type)

    return routes
