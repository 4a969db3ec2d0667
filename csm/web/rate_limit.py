"""Rate limits for each API key, or for each client address if there are no keys."""

import contextlib
import ipaddress
import time
from collections.abc import Callable

from flask import Blueprint, Flask, Response, request
from flask_limiter import Limiter, RateLimitExceeded
from limits import parse_many
from limits.errors import ConfigurationError
from limits.storage import storage_from_string
from werkzeug.exceptions import TooManyRequests

from csm.errors import InvalidRequest
from csm.settings import Settings, SettingsError
from csm.web import access_log
from csm.web.problems import problem, seconds

# If Redis hangs, one request waits this long; after that, requests are counted in memory until Redis answers again.
REDIS_OPTIONS: dict[str, str | int] = {"socket_connect_timeout": 1, "socket_timeout": 1}


def install(app: Flask, settings: Settings) -> Limiter:
    """Return the limiter; see `shared` and `charge`."""
    limiter = Limiter(
        _client,
        app=app,
        storage_uri=settings.rate_limit_storage,
        storage_options=_options(settings),
        # With fixed windows, a burst across the border of two windows would get twice the quota.
        strategy="moving-window",
        # Not `swallow_errors`, which would lift all limits while Redis is down.
        in_memory_fallback_enabled=True,
        key_prefix="csm",
    )

    def exceeded(error: RateLimitExceeded) -> Response:
        wait = seconds(_delay(limiter, error))
        detail = f"Your quota of {error.description} is used up; try again in {wait} seconds."
        return problem(429, detail, {"Retry-After": wait})

    app.register_error_handler(RateLimitExceeded, exceeded)
    return limiter


def shared(limiter: Limiter, settings: Settings) -> Callable[[Blueprint], Blueprint]:
    """Return a function that has the requests of a blueprint counted, and returns the blueprint.

    All routes share one quota. GET requests have another of the same size, so that a client that lists its voices can
    still speak.
    """
    decorate = limiter.shared_limit(
        settings.rate_limit, scope=lambda _: "reads" if request.method in ("GET", "HEAD") else "requests"
    )

    def count(blueprint: Blueprint) -> Blueprint:
        decorate(blueprint)
        return blueprint

    return count


def charge(limiter: Limiter, settings: Settings, characters: int) -> None:
    """Charge the characters of a text to the client's quota, since one text may be a word and another a long chapter.

    flask-limiter checks its limits before the body is read, so this uses its strategy and storage directly.

    Raises:
        TooManyRequests: fewer characters than that are left.
        InvalidRequest: the text is longer than the whole quota.
    """
    limits = parse_many(settings.character_limit) if settings.character_limit else []
    for limit in limits:
        if characters > limit.amount:
            raise InvalidRequest(
                f"The text has {characters} characters; CSM_CHARACTER_LIMIT allows {limit.amount} at a time."
            )
    quotas = [(limit, "characters", _client()) for limit in limits]
    try:
        used_up = [quota for quota in quotas if not limiter.limiter.test(*quota, cost=characters)]
        if not used_up:
            for quota in quotas:
                limiter.limiter.hit(*quota, cost=characters)
            return
        wait = max(limiter.limiter.get_window_stats(*quota).reset_time for quota in used_up) - time.time()
    except Exception:
        # The request limit, checked earlier, has noticed the failure as well and counts in memory from now on.
        limiter.logger.warning("rate limit storage failed while counting characters")
        return
    unit = str(used_up[0][0]).replace(" per ", " characters per ", 1)
    delay = seconds(wait)
    raise TooManyRequests(
        f"This text has {characters} characters, more than are left of your quota of {unit}; "
        f"try again in {delay} seconds.",
        retry_after=int(delay),
    )


def check(settings: Settings) -> None:
    """Check the limits and their storage without connecting to anything.

    Raises:
        SettingsError: one of them is wrong; the message names the variable and the remedy.
    """
    try:
        parse_many(settings.rate_limit)
    except ValueError:
        raise SettingsError("CSM_RATE_LIMIT: write it like '10 per minute' or '10/minute;100/day'") from None
    try:
        parse_many(settings.character_limit or "1/day")
    except ValueError:
        raise SettingsError("CSM_CHARACTER_LIMIT: write it like '20000 per minute', or 'none' for no limit") from None
    try:
        storage_from_string(settings.rate_limit_storage, **_options(settings))
    except (ConfigurationError, ValueError):
        raise SettingsError("CSM_RATE_LIMIT_STORAGE: write it like 'memory://' or 'redis://host:6379/0'") from None


def _options(settings: Settings) -> dict[str, str | int]:
    return REDIS_OPTIONS if settings.rate_limit_storage.startswith("redis") else {}


def _client() -> str:
    """Return whose quota a request is charged to: that of its key, else of its IPv4 address or IPv6 /64 network."""
    if name := access_log.current().client:
        return f"key {name}"
    address = request.remote_addr or ""
    with contextlib.suppress(ValueError):
        parsed = ipaddress.ip_address(address)
        if isinstance(parsed, ipaddress.IPv6Address) and not parsed.ipv4_mapped:
            address = str(ipaddress.ip_network((parsed.packed[:8] + bytes(8), 64)))
    return f"address {address[:64]}"


def _delay(limiter: Limiter, error: RateLimitExceeded) -> float:
    """Return the seconds until the quota allows another request; the whole window if the storage fails."""
    try:
        if (hit := limiter.current_limit) is not None:
            return hit.reset_at - time.time()
    except Exception:
        limiter.logger.warning("rate limit storage failed while looking up a window")
    return error.limit.limit.get_expiry()
