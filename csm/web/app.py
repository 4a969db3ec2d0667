"""The application factory, which assembles all parts of the HTTP layer; there is no global state."""

from flask import Flask
from prometheus_client import start_http_server
from werkzeug.middleware.proxy_fix import ProxyFix

from csm.settings import Settings
from csm.speech import Synthesizer
from csm.web import access_log, auth, capacity, cors, forms, problems, rate_limit, responses
from csm.web.keys import Keyring
from csm.web.metrics import Metrics
from csm.web.routes import clone, conversations, docs, health, models, page, reference, speech, voices, watermark
from csm.web.routes import metrics as metrics_route

SYNTHESIZER, METRICS = "csm.synthesizer", "csm.metrics"

PUBLIC = frozenset({docs.NAME, health.NAME, page.NAME})
"""The blueprints whose routes need no key."""

METRICS_HOST = "127.0.0.1"
"""Address of `CSM_METRICS_PORT`, which has no key."""


def create_app(settings: Settings, synthesizer: Synthesizer) -> Flask:
    """Return the WSGI application that serves `synthesizer` over HTTP.

    Raises:
        SettingsError: the keys or the rate limit cannot be used.
    """
    app = Flask("csm.web", static_folder=None)
    app.url_map.strict_slashes = False
    # A redirect would lose the body of the request.
    app.url_map.merge_slashes = False
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.extensions[SYNTHESIZER] = synthesizer
    app.extensions[METRICS] = metrics = Metrics(synthesizer)

    # The order of the checks: origin, API key, capacity, quota, and only then the body.
    forms.install(app, settings)
    access_log.install(app, metrics.observe)
    problems.install(app, settings)
    responses.install(app)
    cors.install(app, settings)
    auth.install(
        app,
        Keyring.from_settings(settings),
        Keyring.for_metrics(settings),
        public=PUBLIC,
        metrics=metrics_route.NAME,
    )
    capacity.install(app, synthesizer, voices.RESERVING | {clone.NAME, conversations.NAME, speech.NAME})
    limiter = rate_limit.install(app, settings)

    count = rate_limit.shared(limiter, settings)
    routes = [
        *(count(module.blueprint(settings, synthesizer, limiter)) for module in (clone, conversations, speech)),
        *(count(module.blueprint(settings, synthesizer)) for module in (voices, watermark, reference)),
        models.blueprint(synthesizer),
        health.blueprint(synthesizer),
        page.blueprint(settings),
        docs.blueprint(settings, PUBLIC),
    ]
    if settings.metrics_key is not None:
        routes.append(metrics_route.blueprint(metrics.registry))
    for blueprint in routes:
        app.register_blueprint(blueprint)

    if settings.trusted_proxies:
        app.wsgi_app = ProxyFix(  # type: ignore[method-assign]
            app.wsgi_app, x_for=settings.trusted_proxies, x_proto=settings.trusted_proxies
        )
    return app


def synthesizer_of(app: Flask) -> Synthesizer:
    """Return the synthesizer of an application, which whoever runs the application must drain and close."""
    found: Synthesizer = app.extensions[SYNTHESIZER]
    return found


def serve_metrics(app: Flask, settings: Settings) -> None:
    """Serve the metrics of an application on `CSM_METRICS_PORT`, if it is set, until the process ends.

    Raises:
        OSError: the port is in use.
    """
    if settings.metrics_port is not None:
        metrics: Metrics = app.extensions[METRICS]
        start_http_server(settings.metrics_port, METRICS_HOST, metrics.registry)


def check(settings: Settings) -> None:
    """Check the keys and the rate limit before anything slow starts.

    Raises:
        SettingsError: one of them is wrong; the message names the variable and the remedy.
    """
    Keyring.for_metrics(settings)
    Keyring.from_settings(settings)
    rate_limit.check(settings)
