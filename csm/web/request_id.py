"""A name for every request, in the answer and in the log."""

import re
import secrets

HEADER = "X-Request-ID"
_SAFE = re.compile(r"[A-Za-z0-9._:-]{1,128}", re.ASCII)


def choose(offered: str | None) -> str:
    """The caller's id where it is safe to log and to send back, else a fresh one."""
    return offered if offered and _SAFE.fullmatch(offered) else secrets.token_hex(8)
