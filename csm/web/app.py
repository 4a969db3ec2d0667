"""The application factory: every part of the HTTP layer is joined here, and nothing is global."""

from flask import Flask
from werkzeug.middleware.proxy_fix import ProxyFix

from csm.settings import Settings
from csm.speech import Synthesizer
from csm.web import access, auth, clone, cors, health, limits, problems, uploads
from csm.web.doorman import Doorman
from csm.web.keys import Keyring
from csm.web.lobby import Lobby

SYNTHESIZER = "csm.synthesizer"
DOORMAN = "csm.doorman"


def create_app(settings: Settings, synthesizer: Synthesizer) -> Flask:
    """The WSGI application that serves `synthesizer` over HTTP.

    Raises:
        SettingsError: the keys file or the rate limit cannot be used.
    """
    app = Flask("csm.web", static_folder=None)
    app.url_map.strict_slashes = False
    # A redirect would lose the body that comes with the request.
    app.url_map.merge_slashes = False
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.extensions[SYNTHESIZER] = synthesizer
    _install(app, settings, synthesizer)
    if settings.trusted_proxies:
        app.wsgi_app = ProxyFix(  # type: ignore[method-assign]
            app.wsgi_app, x_for=settings.trusted_proxies, x_proto=settings.trusted_proxies
        )
    return app


def synthesizer_of(app: Flask) -> Synthesizer:
    """What the application serves, for those who run it: they drain and close it."""
    found: Synthesizer = app.extensions[SYNTHESIZER]
    return found


def doorman_of(app: Flask) -> Doorman:
    """Who may stand before the application, for servers that can answer without it."""
    found: Doorman = app.extensions[DOORMAN]
    return found


def check(settings: Settings) -> None:
    """Find mistakes in keys and limits before anything slow starts.

    Raises:
        SettingsError: with the variable and the remedy.
    """
    Keyring.of(settings)
    limits.check(settings)


def _install(app: Flask, settings: Settings, synthesizer: Synthesizer) -> None:
    """The order is the order of the checks: identity, then key, then room, then quota, and only then the body."""
    uploads.install(app, settings)
    access.install(app)
    problems.install(app, settings)
    cors.install(app, settings)
    keys, lobby = Keyring.of(settings), Lobby(synthesizer.check)
    auth.install(app, keys)
    clone.turn_away(app, lobby)
    limiter = limits.install(app, settings)
    app.register_blueprint(health.blueprint(synthesizer))
    cloning = clone.blueprint(settings, synthesizer)
    limiter.limit(settings.rate_limit)(cloning)
    app.register_blueprint(cloning)
    app.extensions[DOORMAN] = Doorman(keys, lobby)
