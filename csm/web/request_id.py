"""An id for every request, in the answer and in the log."""

import random
import re

HEADER = "X-Request-ID"
_SAFE = re.compile(r"[A-Za-z0-9._:-]{1,128}", re.ASCII)


def choose(offered: str | None) -> str:
    """Return the client's id where it is safe to log and to send back, else a fresh one."""
    if offered and _SAFE.fullmatch(offered):
        return offered
    # Seeded by the system, and of no use to who guesses it; to ask the system each time costs Python's lock.
    return f"{random.getrandbits(64):016x}"
