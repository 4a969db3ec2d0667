"""The application factory, which assembles all parts of the HTTP layer; there is no global state."""

from flask import Flask
from werkzeug.middleware.proxy_fix import ProxyFix

from csm.settings import Settings
from csm.speech import Synthesizer
from csm.web import access_log, auth, capacity, cors, forms, problems, rate_limit
from csm.web.keys import Keyring
from csm.web.routes import clone, docs, health, models, page

SYNTHESIZER = "csm.synthesizer"


def create_app(settings: Settings, synthesizer: Synthesizer) -> Flask:
    """Return the WSGI application that serves `synthesizer` over HTTP.

    Raises:
        SettingsError: the keys file or the rate limit cannot be used.
    """
    app = Flask("csm.web", static_folder=None)
    app.url_map.strict_slashes = False
    # A redirect would lose the body of the request.
    app.url_map.merge_slashes = False
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.extensions[SYNTHESIZER] = synthesizer

    # The order of the checks: origin, API key, capacity, quota, and only then the body.
    forms.install(app, settings)
    access_log.install(app)
    problems.install(app, settings)
    cors.install(app, settings)
    auth.install(app, Keyring.from_settings(settings))
    capacity.install(app, synthesizer, frozenset({clone.NAME}))
    limiter = rate_limit.install(app, settings)

    for route in (clone,):
        speaking = route.blueprint(settings, synthesizer, limiter)
        limiter.limit(settings.rate_limit)(speaking)
        app.register_blueprint(speaking)
    app.register_blueprint(models.blueprint(synthesizer))
    app.register_blueprint(health.blueprint(synthesizer))
    app.register_blueprint(page.blueprint(settings))
    app.register_blueprint(docs.blueprint(settings))

    if settings.trusted_proxies:
        app.wsgi_app = ProxyFix(  # type: ignore[method-assign]
            app.wsgi_app, x_for=settings.trusted_proxies, x_proto=settings.trusted_proxies
        )
    return app


def synthesizer_of(app: Flask) -> Synthesizer:
    """Return the synthesizer of an application, which whoever runs the application must drain and close."""
    found: Synthesizer = app.extensions[SYNTHESIZER]
    return found


def check(settings: Settings) -> None:
    """Check the keys and the rate limit before anything slow starts.

    Raises:
        SettingsError: one of them is wrong; the message names the variable and the remedy.
    """
    Keyring.from_settings(settings)
    rate_limit.check(settings)
