"""Settings of an application under test."""

from typing import Any

from csm.settings import Settings, load


def app_settings(**given: Any) -> Settings:
    """Return settings with the API key `secret`, a generous rate limit, and what is given."""
    return load(env_file=None, **{"api_keys": "secret", "rate_limit": "1000 per minute", **given})
