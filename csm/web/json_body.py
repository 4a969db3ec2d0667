"""Parse JSON of untrusted clients: strictly, and within limits of size and structure."""

import json
from typing import Any, NoReturn

from werkzeug.exceptions import BadRequest

MAX_SIGNS = 200_000
"""Maximum number of signs that make a document slow to parse or large in memory.

Ten megabytes of `[],` would become 200 MB of Python objects, and no other thread runs while they are made. Texts
contain these signs too; base64 does not.
"""

_SIGNS = (b",", b"[", b"{", b"\\")


def parse(data: bytes) -> Any:
    """Return a document; duplicate keys and numbers that JSON does not have are refused.

    Raises:
        BadRequest: the document is malformed, not UTF-8, ambiguous or too complex.
    """
    if sum(map(data.count, _SIGNS)) > MAX_SIGNS:
        raise BadRequest("The JSON body has too many values.")
    try:
        return json.loads(data.decode(), object_pairs_hook=_unambiguous, parse_constant=_refuse_constant)
    except UnicodeDecodeError:
        raise BadRequest("The JSON body is not valid UTF-8.") from None
    except RecursionError:
        raise BadRequest("The JSON body is nested too deeply.") from None
    except ValueError:
        raise BadRequest("The JSON body is malformed; let a JSON library write it.") from None


def _unambiguous(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise BadRequest("A field of the JSON body is repeated: each may be sent once.")
    return found


def _refuse_constant(_: str) -> NoReturn:
    raise ValueError("NaN and Infinity are no JSON")
