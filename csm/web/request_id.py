"""The id of a request, sent in the response and written to the log."""

import random
import re

HEADER = "X-Request-ID"
_SAFE = re.compile(r"[A-Za-z0-9._:-]{1,128}", re.ASCII)


def choose(offered: str | None) -> str:
    """Return the id that the client offered if it is safe to log and to send back, else a new one."""
    if offered and _SAFE.fullmatch(offered):
        return offered
    # An id need not be unpredictable, and os.urandom would release the GIL and wait to get it back each time.
    return f"{random.getrandbits(64):016x}"
